package rules

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

// Each spelling of a time, as JSON, with what it is read as, or why it is not.
func TestHappenedAt(t *testing.T) {
	t.Parallel()
	received := noon.Add(700 * time.Nanosecond)
	eleven := time.Date(2025, 6, 1, 11, 0, 0, 0, time.UTC)
	for stated, want := range map[string]any{
		`null`: noon, `""`: noon, // none

		`"2025-06-01T11:00:00Z"`:                   eleven,
		`"2025-06-01t11:00:00z"`:                   eleven,
		`"2025-06-01 11:00:00Z"`:                   eleven,
		`"2025-06-01T11:00Z"`:                      eleven,
		`"2025-06-01T14:00:00+03:00"`:              eleven,
		`"2025-06-01T14:00:00+0300"`:               eleven,
		`"2025-06-01T14:00:00+03"`:                 eleven,
		`"2025-06-01 07:30-03:30"`:                 eleven,
		`"2025-05-31T12:01:00-2259"`:               eleven,
		`"2025-06-01T11:00:00.1234567Z"`:           eleven.Add(123456 * time.Microsecond),
		`"1969-07-20T20:17:40.000000000000-00:00"`: time.Date(1969, 7, 20, 20, 17, 40, 0, time.UTC),
		`"1900-01-01T00:00:00Z"`:                   firstTime,
		`"2024-02-29T11:00:00Z"`:                   time.Date(2024, 2, 29, 11, 0, 0, 0, time.UTC),

		`"202506011400+0300"`:         eleven, // HL7 v2
		`"20250601140000+0300"`:       eleven,
		`"20250601140000.25+0300"`:    eleven.Add(250 * time.Millisecond),
		`"20250601140000.1234+0300"`:  eleven.Add(123400 * time.Microsecond),
		`"20250601T110000Z"`:          eleven, // ISO 8601, basic format
		`"20250601T140000.5+03:00"`:   eleven.Add(500 * time.Millisecond),
		`1748775600`:                  eleven,
		`1748775600.25`:               eleven.Add(250 * time.Millisecond),
		`1748775600000`:               eleven,
		`1748775600000.5`:             eleven.Add(500 * time.Microsecond),
		`1.7487756e9`:                 eleven,
		`0`:                           time.Unix(0, 0),
		`99999999999`:                 inFuture, // seconds
		`100000000000`:                time.Date(1973, 3, 3, 9, 46, 40, 0, time.UTC),
		`1e308`:                       inFuture,
		`-1e308`:                      before1900,
		`-2208988800`:                 firstTime,
		`-2208988801`:                 before1900,
		"1" + strings.Repeat("0", 99): inFuture,

		`"2025-06-01T12:00:00.123457Z"`: inFuture,
		`"2025-06-01T12:00:01Z"`:        inFuture,
		`"2025-06-01T13:30:00+01:00"`:   inFuture,
		`"99990101000000+0000"`:         inFuture,
		`"1899-12-31T23:59:59.999999Z"`: before1900,
		`"0000-01-01T00:00:00Z"`:        before1900,

		`"2025-06-01"`: withoutTime,
		`"20250601"`:   withoutTime,

		`"2025-06-01T11:00:00"`:     withoutZone,
		`"2025-06-01 11:00"`:        withoutZone,
		`"20250601110000"`:          withoutZone,
		`"202506011100"`:            withoutZone,
		`"2025-06-01T11:00:00.123"`: withoutZone,

		`" "`:                         unreadable,
		`"yesterday"`:                 unreadable,
		`"1748775600"`:                unreadable, // text of digits could be anything
		`"1748775600000"`:             unreadable,
		`"2025-06"`:                   unreadable,
		`"2025-06-01Z"`:               unreadable,
		`"2025-06-01T1:00:00Z"`:       unreadable,
		`"2025-06-01T11:00:00,5Z"`:    unreadable,
		`"2025-02-29T11:00:00Z"`:      unreadable,
		`"2025-13-01T11:00:00Z"`:      unreadable,
		`"2025-00-01T11:00:00Z"`:      unreadable,
		`"2025-06-00"`:                unreadable,
		`"2025-06-01T24:00:00Z"`:      unreadable,
		`"2025-06-01T11:60:00Z"`:      unreadable,
		`"2025-06-01T11:00:60Z"`:      unreadable,
		`"2025-06-01T11:00:00+25:00"`: unreadable,
		`"2025-06-01T11:00:00+03:60"`: unreadable,
		`"2025-06-01T11:00:00 Z"`:     unreadable,
		`" 2025-06-01T11:00:00Z"`:     unreadable,
		`"٢٠٢٥-06-01T11:00:00Z"`:      unreadable,
		`"01.06.2025 11:00"`:          unreadable,
		`"Sun, 01 Jun 2025 11:00 +0"`: unreadable,
		`"2025-06-01T11:00:00.` + strings.Repeat("0", 81) + `Z"`: unreadable,
		`true`: unreadable, `false`: unreadable, `["2025-06-01T11:00:00Z"]`: unreadable, `{"at": 0}`: unreadable,
	} {
		wantAt, isTime := want.(time.Time)
		warning, _ := want.(Warning)
		if !isTime {
			wantAt = noon
		}
		at, got := HappenedAt(TimestampOf([]byte(`{"timestamp": `+stated+`}`)), received, nil)
		if !at.Equal(wantAt) || at.Location() != time.UTC || got != warning {
			t.Errorf("%s: %v %q, want %v %q", stated, at, got.Message, wantAt, warning.Message)
		}
	}
}

func TestTimestampOf(t *testing.T) {
	t.Parallel()
	for payload, want := range map[string]Timestamp{
		``: {}, `null`: {}, `7`: {}, `"timestamp"`: {}, `["timestamp"]`: {}, `{}`: {},
		`{"Timestamp": "x"}`: {}, `{"a": {"timestamp": "x"}}`: {}, `{"timestamp": null}`: {},
		`{"a": [1], "timestamp" : "\u0078"}`: {"string", "x"},
		`{"timestamp": -1.50e3}`:             {"number", "-1.50e3"},
		`{"timestamp": true}`:                {Type: "boolean"},
		`{"timestamp": []}`:                  {Type: "array"},
		`{"timestamp": {"timestamp": 1}}`:    {Type: "object"},
	} {
		if got := TimestampOf([]byte(payload)); got != want {
			t.Errorf("%s: %+v, want %+v", payload, got, want)
		}
	}
}

// What a client said of the journey's start bounds what its events may state.
func TestEventsLongBeforeTheirJourney(t *testing.T) {
	t.Parallel()
	start := noon.Truncate(time.Hour)
	for stated, want := range map[string]Warning{
		"2025-06-01T12:00:00Z": {},
		"2025-05-02T12:00:00Z": {},
		"2025-05-02T11:59:59Z": beforeJourney,
		"1899-01-01T00:00:00Z": before1900,
	} {
		timestamp := Timestamp{"string", stated}
		at, got := HappenedAt(timestamp, noon, &start)
		if got != want || (at == noon) != (want != Warning{}) {
			t.Errorf("%s: %v %q, want %q", stated, at, got.Message, want.Message)
		}
		if _, got := HappenedAt(timestamp, noon, nil); want == beforeJourney && got != (Warning{}) {
			t.Errorf("%s, of a journey of which no start was stated: %q", stated, got.Message)
		}
	}
}

// An event that was ignored says what was wrong with it, too.
func TestDecideWarns(t *testing.T) {
	t.Parallel()
	of := func(journey *Journey, timestamp string) Outcome {
		f := factsOf(journey)
		return f.Decide(&Event{EventCode: "X", EncounterID: "E1", ReceivedAt: noon, Timestamp: Timestamp{"string", timestamp}})
	}
	start := noon
	begun := journeyIn(hospitalA, "Alpha", JourneyActive, stageOf(StagePending))
	begun.StatedStart = &start
	o := of(begun, "2025-01-01T00:00:00Z")
	if o.Status != EventProcessed || o.Warning != beforeJourney || *o.Stage.CompletedAt != noon {
		t.Errorf("long before: %+v", o)
	}
	o = of(begun, "2025-01-01T00:00:00Z")
	if o.Reason != ReasonNoStage && o.Reason != ReasonStageDone && o.Reason != ReasonJourneyNotActive || o.Warning != beforeJourney {
		t.Errorf("once more: %+v", o)
	}
	o = of(journeyIn(hospitalA, "Alpha", JourneyActive, stageOf(StagePending)), "2025-01-01T00:00:00Z")
	if o.Status != EventProcessed || o.Warning != (Warning{}) {
		t.Errorf("of a journey of which no start was stated: %+v", o)
	}
	f := Facts{Physicians: map[Name]uuid.UUID{}}
	if o := f.Decide(&Event{EncounterID: "E1", ReceivedAt: noon, Timestamp: Timestamp{"string", "soon"}}); o.Reason != ReasonNoJourney || o.Warning != unreadable {
		t.Errorf("of no journey: %+v", o)
	}
}

// Whatever was stated, the time is one that Postgres stores and is not in the future.
func FuzzHappenedAt(f *testing.F) {
	for _, seed := range []string{`"2025-06-01T11:00:00+03:00"`, `"20250601110000.5+0300"`, `1748775600.5`, `-1e99`, `true`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, stated string) {
		if !json.Valid([]byte(stated)) {
			return
		}
		at, warning := HappenedAt(TimestampOf([]byte(`{"timestamp": `+stated+`}`)), noon, nil)
		if at.After(noon) || at.Before(firstTime) || at.Nanosecond()%1000 != 0 || warning != (Warning{}) && at != noon {
			t.Errorf("%s: %v %q", stated, at, warning.Message)
		}
	})
}
