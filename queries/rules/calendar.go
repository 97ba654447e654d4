package rules

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// BusinessHours are the hours of a week, by the clock of a hospital's zone: for each day the intervals from one time of
// day up to another, in their order. 24:00 is the end of a day. As JSON they are BusinessHours of the contract.
type BusinessHours struct {
	Sun []Interval `json:"sun"`
	Mon []Interval `json:"mon"`
	Tue []Interval `json:"tue"`
	Wed []Interval `json:"wed"`
	Thu []Interval `json:"thu"`
	Fri []Interval `json:"fri"`
	Sat []Interval `json:"sat"`
}

// An Interval is a start and an end as times of day, such as 08:00.
type Interval [2]string

// ErrIntervals is about business hours whose intervals cannot be meant.
var ErrIntervals = errors.New("intervals must end after they begin and not overlap")

func (b BusinessHours) days() [7][]Interval {
	return [7][]Interval{b.Sun, b.Mon, b.Tue, b.Wed, b.Thu, b.Fri, b.Sat}
}

// Empty tells whether there are none at all.
func (b BusinessHours) Empty() bool {
	for _, day := range b.days() {
		if len(day) > 0 {
			return false
		}
	}
	return true
}

// Normalized has its intervals in their order, and an empty list where a day has none.
func (b BusinessHours) Normalized() BusinessHours {
	for _, day := range []*[]Interval{&b.Sun, &b.Mon, &b.Tue, &b.Wed, &b.Thu, &b.Fri, &b.Sat} {
		*day = append([]Interval{}, *day...)
		slices.SortFunc(*day, func(a, b Interval) int { return slices.Compare(a[:], b[:]) }) // times of day sort as texts
	}
	return b
}

const minutesOfDay = 24 * 60

// minuteOfDay reads a time of day from 00:00 to 24:00.
func minuteOfDay(text string) (int, error) {
	if text == "24:00" {
		return minutesOfDay, nil
	}
	at, err := time.Parse("15:04", text)
	return at.Hour()*60 + at.Minute(), err
}

// A Calendar says when a hospital works. The zero value never does.
type Calendar struct {
	zone     *time.Location
	days     [7][]minutes // by weekday, in their order
	holidays map[string]bool
}

// minutes are an interval of a day, in minutes since midnight.
type minutes struct{ start, end int }

// NewCalendar makes a calendar of business hours in a time zone, but for holidays, which are dates such as 2026-09-23.
// The error is ErrIntervals, or that something cannot be read.
func NewCalendar(hours BusinessHours, holidays []string, zone string) (c Calendar, err error) {
	if c.zone, err = time.LoadLocation(zone); err != nil {
		return c, fmt.Errorf("business hours: %w", err)
	}
	for day, intervals := range hours.Normalized().days() {
		last := 0
		for _, interval := range intervals {
			start, err := minuteOfDay(interval[0])
			if err != nil {
				return c, fmt.Errorf("business hours: %w", err)
			}
			end, err := minuteOfDay(interval[1])
			if err != nil {
				return c, fmt.Errorf("business hours: %w", err)
			}
			if start < last || end <= start {
				return c, ErrIntervals
			}
			c.days[day], last = append(c.days[day], minutes{start, end}), end
		}
	}
	c.holidays = make(map[string]bool, len(holidays))
	for _, date := range holidays {
		c.holidays[date] = true
	}
	return c, nil
}

// Add is the instant at which so much working time has passed since from. An instant is working time if the clock shows a
// time that is: an hour that the clock skips counts nothing, one that it repeats counts twice. The calendar must have
// hours.
func (c Calendar) Add(from time.Time, d time.Duration) time.Time {
	for t := from; ; {
		start, end := c.next(t)
		if left := end.Sub(start); d > left {
			d, t = d-left, end
			continue
		}
		return start.Add(d)
	}
}

// Between is how much working time passes from one instant to another.
func (c Calendar) Between(from, to time.Time) (sum time.Duration) {
	if c.empty() {
		return 0
	}
	for t := from; t.Before(to); {
		start, end := c.next(t)
		if !start.Before(to) {
			break
		}
		if to.Before(end) {
			end = to
		}
		sum, t = sum+end.Sub(start), end
	}
	return sum
}

func (c Calendar) empty() bool {
	return !slices.ContainsFunc(c.days[:], func(day []minutes) bool { return len(day) > 0 })
}

// next is the first working time from t on. Where the clock is put forward or back, it ends, and another begins.
func (c Calendar) next(t time.Time) (start, end time.Time) {
	for {
		local := t.In(c.zone)
		_, change := local.ZoneBounds()
		elapsed := time.Duration(local.Hour())*time.Hour + time.Duration(local.Minute())*time.Minute +
			time.Duration(local.Second())*time.Second + time.Duration(local.Nanosecond())
		midnight := t.Add(-elapsed) // if the clock was not changed since: it has not, or the part before the change is over
		if !c.holidays[local.Format(time.DateOnly)] {
			for _, m := range c.days[local.Weekday()] {
				start, end = midnight.Add(time.Duration(m.start)*time.Minute), midnight.Add(time.Duration(m.end)*time.Minute)
				if start.Before(t) {
					start = t
				}
				if !change.IsZero() && change.Before(end) {
					end = change
				}
				if start.Before(end) {
					return start, end
				}
			}
		}
		t = midnight.Add(minutesOfDay * time.Minute)
		if !change.IsZero() && change.Before(t) {
			t = change
		}
	}
}
