package rules

import (
	"encoding/json"
	"math"
	"regexp"
	"strconv"
	"time"
	"unicode/utf8"
)

// A Timestamp is the timestamp of an event's payload as it was sent. The zero value is none.
type Timestamp struct {
	Type string // of JSON: string, number, boolean, array or object; null and blank are none
	Text string // a string's content or a number's digits, blank for other types
}

// TimestampOf reads the timestamp of a payload, which is valid JSON. It is none if the payload is no object.
func TimestampOf(payload []byte) Timestamp {
	var members map[string]json.RawMessage // not a struct, whose fields match whatever the case
	if json.Unmarshal(payload, &members) != nil || len(members["timestamp"]) == 0 {
		return Timestamp{}
	}
	raw := members["timestamp"]
	switch raw[0] {
	case 'n':
		return Timestamp{}
	case 't', 'f':
		return Timestamp{Type: "boolean"}
	case '[':
		return Timestamp{Type: "array"}
	case '{':
		return Timestamp{Type: "object"}
	case '"':
		var text string
		if json.Unmarshal(raw, &text) != nil {
			return Timestamp{}
		}
		return Timestamp{Type: "string", Text: text}
	}
	return Timestamp{Type: "number", Text: string(raw)}
}

// A Warning says what of an event was not taken as it was sent. The zero value is none.
type Warning struct {
	Reason  string // one of the constants below, for metrics
	Message string // one sentence for a person
}

// Messages is the message as the list that the API answers.
func (w Warning) Messages() []string {
	if w.Message == "" {
		return []string{}
	}
	return []string{w.Message}
}

// The reasons of warnings.
const (
	WarningUnreadable    = "timestamp_unreadable"
	WarningNoZone        = "timestamp_without_zone"
	WarningNoTime        = "timestamp_without_time"
	WarningFuture        = "timestamp_in_future"
	WarningBefore1900    = "timestamp_before_1900"
	WarningBeforeJourney = "timestamp_before_journey"
)

var (
	unreadable    = timestampWarning(WarningUnreadable, "cannot be read as a time")
	withoutZone   = timestampWarning(WarningNoZone, "has no time zone")
	withoutTime   = timestampWarning(WarningNoTime, "is a date without a time")
	inFuture      = timestampWarning(WarningFuture, "is later than the time of receipt")
	before1900    = timestampWarning(WarningBefore1900, "is before 1900")
	beforeJourney = timestampWarning(WarningBeforeJourney, "is more than 30 days before the started_at of the journey")
)

func timestampWarning(reason, why string) Warning {
	return Warning{reason, "payload_json.timestamp " + why + "; the time of receipt is used."}
}

// maxBeforeStart is how long before the start that a client stated for a journey an event of it may have happened.
const maxBeforeStart = 30 * 24 * time.Hour

// firstTime is the first moment that is taken for a time at which something happened.
var firstTime = time.Date(1900, 1, 1, 0, 0, 0, 0, time.UTC)

// HappenedAt is when the thing happened that an event reports: the time it states or, if it states none that can be
// used, when it was received, with a warning where it states another. journeyStart is when its journey began, if a
// client stated that; nil bounds nothing. The time is in UTC and whole microseconds, as Postgres stores it. Source:
// payload_json of the contract's EventCreate.
func HappenedAt(stated Timestamp, receivedAt time.Time, journeyStart *time.Time) (time.Time, Warning) {
	receivedAt = receivedAt.UTC().Truncate(time.Microsecond)
	if stated.Type == "" || stated == (Timestamp{Type: "string"}) {
		return receivedAt, Warning{}
	}
	at, warning := stated.time()
	switch {
	case warning != Warning{}:
	case at.After(receivedAt):
		warning = inFuture
	case at.Before(firstTime):
		warning = before1900
	case journeyStart != nil && at.Before(journeyStart.Add(-maxBeforeStart)):
		warning = beforeJourney
	default:
		return at, Warning{}
	}
	return receivedAt, warning
}

// time reads the timestamp, or warns why it cannot be read.
func (t Timestamp) time() (time.Time, Warning) {
	switch t.Type {
	case "number":
		return epoch(t.Text)
	case "string":
		return calendar(t.Text)
	}
	return time.Time{}, unreadable
}

// The limits of a number: from firstMilliseconds on it counts milliseconds, as seconds would be after the year 5000;
// what is beyond furthest is so far away that it is not computed.
const (
	firstMilliseconds = 1e11
	furthest          = 1e15
)

// epoch reads a number of seconds or milliseconds since 1970, to the microsecond.
func epoch(text string) (time.Time, Warning) {
	n, err := strconv.ParseFloat(text, 64) // out of range it is an infinity
	switch {
	case err != nil && !math.IsInf(n, 0), math.IsNaN(n):
		return time.Time{}, unreadable
	case n >= furthest:
		return time.Time{}, inFuture
	case n <= -furthest:
		return time.Time{}, before1900
	case math.Abs(n) >= firstMilliseconds:
		return time.UnixMicro(int64(math.Round(n * 1e3))).UTC(), Warning{}
	}
	return time.UnixMicro(int64(math.Round(n * 1e6))).UTC(), Warning{}
}

// The two ways to write a time, with the same groups: date, hour, minute, second, fraction, and offset. RFC 3339 is
// the first, HL7 v2 the second.
const (
	offsetPattern   = `([Zz]|[+-](?:[01]\d|2[0-3])(?::?[0-5]\d)?)?`
	extendedPattern = `^(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(\.\d+)?)?` + offsetPattern + `)?$`
	compactPattern  = `^(\d{4})(\d\d)(\d\d)(?:[Tt]?(\d\d)(\d\d)(?:(\d\d)(\.\d+)?)?` + offsetPattern + `)?$`
)

var extended, compact = regexp.MustCompile(extendedPattern), regexp.MustCompile(compactPattern)

// maxTimestamp is how many characters a time has at most. What is longer comes cut from the queue.
const maxTimestamp = 100

// calendar reads a date with a time and an offset from UTC.
func calendar(text string) (time.Time, Warning) {
	parts := extended.FindStringSubmatch(text)
	if parts == nil {
		parts = compact.FindStringSubmatch(text)
	}
	if parts == nil || utf8.RuneCountInString(text) > maxTimestamp {
		return time.Time{}, unreadable
	}
	year, month, day := number(parts[1]), number(parts[2]), number(parts[3])
	hour, minute, second := number(parts[4]), number(parts[5]), number(parts[6])
	at := time.Date(year, time.Month(month), day, hour, minute, second, nanoseconds(parts[7]), time.UTC)
	switch {
	// time.Date makes 30 February the 2nd of March.
	case int(at.Month()) != month || at.Day() != day || hour > 23 || minute > 59 || second > 59:
		return time.Time{}, unreadable
	case parts[4] == "":
		return time.Time{}, withoutTime
	case parts[8] == "":
		return time.Time{}, withoutZone
	}
	return at.Add(-offset(parts[8])).Truncate(time.Microsecond), Warning{}
}

// offset reads Z, +hh, +hhmm or +hh:mm.
func offset(text string) time.Duration {
	if len(text) < len("+hh") {
		return 0
	}
	minutes := 60*number(text[1:3]) + number(text[max(3, len(text)-2):])
	if text[0] == '-' {
		minutes = -minutes
	}
	return time.Duration(minutes) * time.Minute
}

// nanoseconds reads a fraction of a second, with its point. Digits beyond the ninth are dropped.
func nanoseconds(fraction string) int {
	if fraction == "" {
		return 0
	}
	return number((fraction[1:] + "000000000")[:9])
}

// number reads digits, of which there may be none.
func number(digits string) int {
	n, _ := strconv.Atoi(digits)
	return n
}
