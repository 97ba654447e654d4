package rules_test

import (
	"testing"
	"time"
	_ "time/tzdata"

	"github.com/px360/px360/queries/rules"
)

// FuzzQuietHours compares with a model that looks at every minute.
func FuzzQuietHours(f *testing.F) {
	f.Add(int64(1767571200), 21*60, 9*60, uint8(0))
	f.Add(int64(1774742400), 22*60, 2*60+30, uint8(2)) // London puts its clocks forward on 29 March 2026
	f.Add(int64(1792886400), 23*60, 60+30, uint8(2))   // and back on 25 October
	f.Add(int64(1777000000), 23*60+30, 30, uint8(1))   // Cairo, over a day whose midnight is skipped
	f.Add(int64(1793300000), 12*60, 12*60, uint8(1))
	zones := []string{"Asia/Riyadh", "Africa/Cairo", "Europe/London"}
	f.Fuzz(func(t *testing.T, seconds int64, start, end int, zone uint8) {
		const decade = 10 * 366 * 24 * 3600
		at := time.Unix(1600000000+(seconds%decade+decade)%decade, 5).UTC()
		start, end = (start%1440+1440)%1440, (end%1440+1440)%1440
		location, err := time.LoadLocation(zones[int(zone)%len(zones)])
		if err != nil {
			t.Fatal(err)
		}
		q := rules.QuietHours{Start: start, End: end, Zone: location}

		inside := func(t time.Time) bool { // counts through the minutes of the interval
			local := t.In(location)
			for minute := start; minute != end; minute = (minute + 1) % 1440 {
				if local.Hour()*60+local.Minute() == minute {
					return true
				}
			}
			return false
		}
		want := at
		if inside(at) {
			for want = at.Truncate(time.Minute); inside(want); want = want.Add(time.Minute) {
			}
		}
		if got := q.After(at); !got.Equal(want) {
			t.Errorf("%v in %v, quiet from %d to %d: %v, want %v", at, location, start, end, got, want.In(location))
		}
	})
}

func TestQuietHoursRead(t *testing.T) {
	t.Parallel()
	q, err := rules.NewQuietHours("21:00", "09:00", "Asia/Riyadh")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 4, 18, 30, 0, 0, time.UTC) // 21:30 there
	if got, want := q.After(at), time.Date(2026, 1, 5, 6, 0, 0, 0, time.UTC); !got.Equal(want) {
		t.Errorf("%v, want %v", got, want)
	}
	for _, bad := range [][3]string{{"24:00", "09:00", "Asia/Riyadh"}, {"21:00", "9", "Asia/Riyadh"}, {"21:00", "09:00", "Asia/Nowhere"}} {
		if _, err := rules.NewQuietHours(bad[0], bad[1], bad[2]); err == nil {
			t.Errorf("%v are read", bad)
		}
	}
}
