package hospitalday_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/px360/px360/tests/hospitalday"
)

func TestHappenedAt(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 1, 2, 11, 0, 0, 0, time.UTC)
	never := time.Time{}
	for payload, want := range map[string]time.Time{
		`{"timestamp": "2026-01-02T11:00:00Z"}`:                                      at,
		`{"timestamp": "2026-01-02t11:00:00z"}`:                                      at,
		`{"timestamp": "2026-01-02 14:00+0300"}`:                                     at,
		`{"timestamp": "2026-01-02T14:00:00+03:00"}`:                                 at,
		`{"timestamp": "2026-01-02T14:00:00+03"}`:                                    at,
		`{"timestamp": "2026-01-02T11:00:00.1234567Z"}`:                              at.Add(123456 * time.Microsecond),
		`{"timestamp": "2026-01-02T11:00:00-00:00"}`:                                 at,
		`{"timestamp": "20260102140000.25+0300"}`:                                    at.Add(250 * time.Millisecond),
		`{"timestamp": "202601021400+0300"}`:                                         at,
		`{"timestamp": 1767351600}`:                                                  at,
		`{"timestamp": 1767351600.5}`:                                                at.Add(500 * time.Millisecond),
		`{"timestamp": 1767351600000}`:                                               at,
		`{"timestamp": "2026-01-02T10:00:00Z", "timestamp": "2026-01-02T11:00:00Z"}`: at,
		`{"timestamp": "2026-01-02T12:00:00Z"}`:                                      received,
		`{"timestamp": "2026-01-02T12:00:00.000001Z"}`:                               never,
		`{"timestamp": "2999-01-01T00:00:00Z"}`:                                      never,
		`{"timestamp": "1899-12-31T23:59:59Z"}`:                                      never,
		`{"timestamp": "2026-01-02T11:00:00"}`:                                       never,
		`{"timestamp": "2026-01-02T9:00:00Z"}`:                                       never,
		`{"timestamp": "2026-01-02T11:00:00,5Z"}`:                                    never,
		`{"timestamp": "2026-01-02T11:00:00+24:00"}`:                                 never,
		`{"timestamp": "2026-02-30T11:00:00Z"}`:                                      never,
		`{"timestamp": "20260102110000"}`:                                            never,
		`{"timestamp": "1767351600"}`:                                                never,
		`{"timestamp": 1e300}`:                                                       never,
		`{"timestamp": true}`:                                                        never,
		`{"timestamp": null}`:                                                        received,
		`{"timestamp": ""}`:                                                          received,
		`{"Timestamp": "2026-01-02T11:00:00Z"}`:                                      received,
		`{"result": {"timestamp": "2026-01-02T11:00:00Z"}}`:                          received,
		`{}`:   received,
		`null`: received,
		``:     received,
	} {
		wantUsed := want != never
		if !wantUsed {
			want = received
		}
		if got, used := hospitalday.HappenedAt(json.RawMessage(payload), received, never); !got.Equal(want) || used != wantUsed {
			t.Errorf("%s: got %v %v, want %v %v", payload, got, used, want, wantUsed)
		}
	}
	for days, want := range map[int]bool{0: true, 30: true, 31: false} {
		start := at.AddDate(0, 0, days)
		if _, used := hospitalday.HappenedAt(json.RawMessage(`{"timestamp": "2026-01-02T11:00:00Z"}`), received, start); used != want {
			t.Errorf("%d days before the journey: %v", days, used)
		}
	}
}
