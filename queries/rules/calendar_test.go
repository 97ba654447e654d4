package rules

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
	_ "time/tzdata"
)

var workweek = BusinessHours{
	Sun: []Interval{{"08:00", "17:00"}}, Mon: []Interval{{"08:00", "17:00"}}, Tue: []Interval{{"08:00", "17:00"}},
	Wed: []Interval{{"08:00", "17:00"}}, Thu: []Interval{{"08:00", "17:00"}},
}

func TestBusinessHours(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, zone string
		hours      BusinessHours
		holidays   []string
		from       string
		add        time.Duration
		want       string
	}{
		{"within a day", "Asia/Riyadh", workweek, nil, "2026-01-04T09:00:00+03:00", 3 * time.Hour, "2026-01-04T12:00:00+03:00"},
		{"to the end of a day", "Asia/Riyadh", workweek, nil, "2026-01-04T09:00:00+03:00", 8 * time.Hour, "2026-01-04T17:00:00+03:00"},
		{"over night", "Asia/Riyadh", workweek, nil, "2026-01-04T09:00:00+03:00", 8*time.Hour + time.Second, "2026-01-05T08:00:01+03:00"},
		{"over a weekend", "Asia/Riyadh", workweek, nil, "2026-01-08T16:30:00+03:00", time.Hour, "2026-01-11T08:30:00+03:00"},
		{"from a weekend", "Asia/Riyadh", workweek, nil, "2026-01-09T16:30:00+03:00", time.Hour, "2026-01-11T09:00:00+03:00"},
		{"over a holiday", "Asia/Riyadh", workweek, []string{"2026-09-23"}, "2026-09-22T16:00:00+03:00", 2 * time.Hour, "2026-09-24T09:00:00+03:00"},
		{"no minute is lost at midnight", "Asia/Riyadh", BusinessHours{Sun: []Interval{{"22:00", "24:00"}}, Mon: []Interval{{"00:00", "02:00"}}}, nil,
			"2026-01-04T22:00:00+03:00", 4 * time.Hour, "2026-01-05T02:00:00+03:00"},
		{"a split day", "Asia/Riyadh", BusinessHours{Sun: []Interval{{"16:00", "20:00"}, {"08:00", "12:00"}}}, nil,
			"2026-01-04T11:00:00+03:00", 2 * time.Hour, "2026-01-04T17:00:00+03:00"},
		{"an hour that the clock skips", "Europe/London", BusinessHours{Sun: []Interval{{"00:00", "04:00"}}}, nil,
			"2026-03-29T00:00:00Z", 3 * time.Hour, "2026-03-29T04:00:00+01:00"},
		{"an hour that the clock repeats", "Europe/London", BusinessHours{Sun: []Interval{{"00:00", "04:00"}}}, nil,
			"2026-10-25T00:00:00+01:00", 5 * time.Hour, "2026-10-25T04:00:00Z"},
		{"a midnight that does not exist", "Africa/Cairo", BusinessHours{Fri: []Interval{{"00:00", "02:00"}}}, nil,
			"2026-04-23T12:00:00+02:00", time.Hour, "2026-04-24T02:00:00+03:00"},
	} {
		calendar, err := NewCalendar(c.hours, c.holidays, c.zone)
		if err != nil {
			t.Fatal(err)
		}
		from, want := instant(t, c.from), instant(t, c.want)
		if got := calendar.Add(from, c.add); !got.Equal(want) {
			t.Errorf("%s: %v after %s is %s, want %s", c.name, c.add, c.from, got.In(calendar.zone), c.want)
		}
		if got := calendar.Between(from, want); got != c.add {
			t.Errorf("%s: from %s to %s are %v, want %v", c.name, c.from, c.want, got, c.add)
		}
	}
}

func instant(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

func TestIntervals(t *testing.T) {
	t.Parallel()
	for text, day := range map[string][]Interval{
		"they touch":          {{"08:00", "12:00"}, {"12:00", "24:00"}},
		"not in their order":  {{"13:00", "17:00"}, {"08:00", "12:00"}},
		"! they overlap":      {{"08:00", "12:00"}, {"11:59", "17:00"}},
		"! end at the start":  {{"08:00", "08:00"}},
		"! end before":        {{"22:00", "06:00"}},
		"! the same twice":    {{"08:00", "12:00"}, {"08:00", "12:00"}},
		"! one in the other":  {{"08:00", "17:00"}, {"09:00", "10:00"}},
		"a minute":            {{"23:59", "24:00"}},
		"the whole of it":     {{"00:00", "24:00"}},
		"! beyond the day":    {{"00:00", "24:01"}},
		"! nothing of a time": {{"", "24:00"}},
	} {
		_, err := NewCalendar(BusinessHours{Mon: day}, nil, "Asia/Riyadh")
		if (err != nil) != (text[0] == '!') {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// FuzzCalendar compares the arithmetic with a walk from minute to minute, in zones without and with daylight saving time,
// one of them with a change at midnight.
func FuzzCalendar(f *testing.F) {
	for seed := range uint64(60) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 0))
		zone, err := time.LoadLocation([]string{"Asia/Riyadh", "Africa/Cairo", "Europe/London"}[r.IntN(3)])
		if err != nil {
			t.Fatal(err)
		}
		hours, holidays := randomHours(r), []string{}
		changes := []time.Time{ // around which something can go wrong
			time.Date(2026, 3, 29, 1, 0, 0, 0, time.UTC), time.Date(2026, 10, 25, 1, 0, 0, 0, time.UTC),
			time.Date(2026, 4, 23, 22, 0, 0, 0, time.UTC), time.Date(2026, 10, 29, 21, 0, 0, 0, time.UTC),
			time.Date(2026, 7, 1, 0, 0, 0, 0, time.UTC),
		}
		from := changes[r.IntN(len(changes))].Add(time.Duration(r.IntN(4*24*60)-3*24*60) * time.Minute)
		for range r.IntN(4) {
			holidays = append(holidays, from.AddDate(0, 0, r.IntN(7)).Format(time.DateOnly))
		}
		calendar, err := NewCalendar(hours, holidays, zone.String())
		if err != nil {
			t.Fatal(err)
		}
		if hours.Empty() {
			if got := calendar.Between(from, from.AddDate(1, 0, 0)); got != 0 {
				t.Fatalf("%v of no hours", got)
			}
			return
		}
		worked, minute := 0, from
		target := r.IntN(60 * 60)
		for ; worked < target; minute = minute.Add(time.Minute) {
			if minute.Equal(from.Add(time.Duration(target) * time.Minute)) {
				if got, want := calendar.Between(from, minute), time.Duration(worked)*time.Minute; got != want {
					t.Fatalf("seed %d: from %s to %s are %v, want %v", seed, from, minute, got, want)
				}
			}
			if works(hours, holidays, minute.In(zone)) {
				worked++
			}
		}
		for target == 0 && !works(hours, holidays, minute.In(zone)) {
			minute = minute.Add(time.Minute)
		}
		if got := calendar.Add(from, time.Duration(target)*time.Minute); !got.Equal(minute) {
			t.Fatalf("seed %d: %d minutes after %s are %s, want %s (%v without %v)", seed, target, from.In(zone), got.In(zone), minute.In(zone), hours, holidays)
		}
		if got := calendar.Between(from, minute); got != time.Duration(target)*time.Minute {
			t.Fatalf("seed %d: from %s to %s are %v, want %d minutes", seed, from.In(zone), minute.In(zone), got, target)
		}
	})
}

// works is the model: whether the clock shows a time of the business hours.
func works(hours BusinessHours, holidays []string, local time.Time) bool {
	for _, date := range holidays {
		if date == local.Format(time.DateOnly) {
			return false
		}
	}
	clock := local.Format("15:04")
	for _, interval := range hours.days()[local.Weekday()] {
		if interval[0] <= clock && clock < interval[1] {
			return true
		}
	}
	return false
}

func randomHours(r *rand.Rand) (hours BusinessHours) {
	for _, day := range []*[]Interval{&hours.Sun, &hours.Mon, &hours.Tue, &hours.Wed, &hours.Thu, &hours.Fri, &hours.Sat} {
		for at, times := 0, r.IntN(4); times > 0; times-- {
			if at += r.IntN(300); at >= minutesOfDay {
				break
			}
			end := min(at+1+r.IntN(500), minutesOfDay)
			*day = append(*day, Interval{clockTime(at), clockTime(end)})
			at = end
		}
	}
	return hours
}

func clockTime(minute int) string { return fmt.Sprintf("%02d:%02d", minute/60, minute%60) }
