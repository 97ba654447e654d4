package rules

import (
	"fmt"
	"time"
)

// QuietHours are a time of day, by the clock of a hospital's zone, in which nobody is written to: from Start, and over
// midnight where End is earlier, up to End. None if both are the same. An instant is within if the clock shows a time that
// is: an hour that the clock skips counts nothing, one that it repeats counts twice.
type QuietHours struct {
	Start, End int // minutes since midnight
	Zone       *time.Location
}

// NewQuietHours reads times of day such as 21:00, and the name of a time zone.
func NewQuietHours(start, end, zone string) (q QuietHours, err error) {
	if q.Zone, err = time.LoadLocation(zone); err != nil {
		return q, fmt.Errorf("quiet hours: %w", err)
	}
	for text, into := range map[*int]string{&q.Start: start, &q.End: end} {
		at, err := time.Parse("15:04", into)
		if err != nil {
			return q, fmt.Errorf("quiet hours: %w", err)
		}
		*text = at.Hour()*60 + at.Minute()
	}
	return q, nil
}

// Contain tells whether an instant is within.
func (q QuietHours) Contain(t time.Time) bool {
	local := t.In(q.Zone)
	minute := local.Hour()*60 + local.Minute()
	if q.Start <= q.End {
		return q.Start <= minute && minute < q.End
	}
	return q.Start <= minute || minute < q.End
}

// After is the first instant from t on that is not within.
func (q QuietHours) After(t time.Time) time.Time {
	for q.Contain(t) {
		local := t.In(q.Zone)
		left := (q.End - local.Hour()*60 - local.Minute() + 24*60) % (24 * 60)
		until := t.Add(time.Duration(left)*time.Minute - time.Duration(local.Second())*time.Second - time.Duration(local.Nanosecond()))
		// The clock shows End then, unless it is put forward or back before.
		if _, change := local.ZoneBounds(); !change.IsZero() && change.Before(until) {
			until = change
		}
		t = until
	}
	return t
}
