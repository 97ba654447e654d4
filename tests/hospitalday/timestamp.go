package hospitalday

import (
	"encoding/json"
	"math"
	"math/big"
	"regexp"
	"strings"
	"time"
)

// HappenedAt returns when an event's thing happened: the payload's timestamp, or receivedAt if it states none or one
// that is not used: one that cannot be read, or is later than receivedAt, before 1900 or more than 30 days before the
// start that was stated of its journey, zero for none. In UTC and whole microseconds, which is what Postgres stores.
// used is false if it states one that is not used.
func HappenedAt(payload json.RawMessage, receivedAt, statedStart time.Time) (happened time.Time, used bool) {
	receivedAt = receivedAt.UTC().Truncate(time.Microsecond)
	var fields map[string]any // not a struct, whose fields match whatever the case of the key
	decoder := json.NewDecoder(strings.NewReader(string(payload)))
	decoder.UseNumber()
	if decoder.Decode(&fields) != nil || fields["timestamp"] == nil || fields["timestamp"] == "" {
		return receivedAt, true
	}
	switch stated := fields["timestamp"].(type) {
	case string:
		happened, used = readCalendar(stated)
	case json.Number:
		happened, used = readEpoch(stated)
	}
	if happened.After(receivedAt) || happened.Year() < 1900 {
		used = false
	}
	if !statedStart.IsZero() && statedStart.Sub(happened) > 30*24*time.Hour {
		used = false
	}
	if !used {
		return receivedAt, false
	}
	return happened, true
}

// readCalendar tries one layout after the other, and writes the time again to see that it was spelled so.
func readCalendar(text string) (time.Time, bool) {
	text = strings.NewReplacer("t", "T", "z", "Z", "-00:00", "+00:00").Replace(text)
	if len(text) > 100 {
		return time.Time{}, false
	}
	for _, clock := range []string{
		"2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04",
		"20060102T150405", "20060102150405", "20060102T1504", "200601021504",
	} {
		for _, zone := range []string{"Z", "-07:00", "-0700", "-07"} {
			at, err := time.Parse(clock+zone, text)
			if err != nil || at.Format(clock+zone) != fraction.ReplaceAllString(text, "") {
				continue
			}
			if _, offset := at.Zone(); offset > -24*3600 && offset < 24*3600 {
				return at.UTC().Truncate(time.Microsecond), true
			}
		}
	}
	return time.Time{}, false
}

var fraction = regexp.MustCompile(`\.\d+`)

// readEpoch reads seconds or, of a number so large that seconds would be millennia ahead, milliseconds.
func readEpoch(number json.Number) (time.Time, bool) {
	seconds, ok := new(big.Rat).SetString(number.String())
	if !ok {
		return time.Time{}, false
	}
	if new(big.Rat).Abs(seconds).Cmp(big.NewRat(100_000_000_000, 1)) >= 0 {
		seconds.Quo(seconds, big.NewRat(1000, 1))
	}
	microseconds, _ := seconds.Mul(seconds, big.NewRat(1_000_000, 1)).Float64()
	if math.Abs(microseconds) > 1e18 {
		return time.Time{}, false
	}
	return time.UnixMicro(int64(math.Round(microseconds))).UTC(), true
}

// textField returns a string in the payload's top level by its exact key, blank if there is none or it is no string.
// A map and not a struct, because encoding/json matches the names of struct fields whatever their case.
func textField(payload json.RawMessage, key string) string {
	var fields map[string]json.RawMessage
	if json.Unmarshal(payload, &fields) != nil {
		return ""
	}
	var text string
	if json.Unmarshal(fields[key], &text) != nil {
		return ""
	}
	return text
}
