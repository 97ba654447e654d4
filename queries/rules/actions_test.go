package rules

import (
	"net/http"
	"slices"
	"testing"
	"time"
)

// testSLA promises 4 hours by the calendar and, for what is low, 9 business hours.
var testSLA = SLA{
	Timezone: "Asia/Riyadh", BusinessHours: workweek,
	Targets: Targets{Low: Target{Hours: 9, Clock: ClockBusiness}, Medium: Target{Hours: 8, Clock: ClockCalendar}, High: Target{Hours: 8, Clock: ClockCalendar}, Urgent: Target{Hours: 4, Clock: ClockCalendar}},
}

func startedAt(t *testing.T, priority, at string) (ActionTiming, time.Time) {
	t.Helper()
	timing, now := ActionTiming{Status: ActionOpen, Priority: priority}, instant(t, at)
	if err := timing.Start(testSLA, now); err != nil {
		t.Fatal(err)
	}
	return timing, now
}

// What the clock of an action comes to, by both clocks: each thing once, and the next is always known.
func TestActionTimingAdvances(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		priority string
		want     []string // when, from Sunday 08:00 in Riyadh
	}{
		{PriorityUrgent, []string{"2026-01-04T11:00:00+03:00", "2026-01-04T12:00:00+03:00", "2026-01-04T20:00:00+03:00", "2026-01-05T12:00:00+03:00"}},
		{PriorityLow, []string{"2026-01-04T14:45:00+03:00", "2026-01-04T17:00:00+03:00", "2026-01-05T16:00:00+03:00", "2026-01-07T14:00:00+03:00"}},
	} {
		timing, _ := startedAt(t, c.priority, "2026-01-04T08:00:00+03:00")
		if want := instant(t, c.want[DeadlineBreach]); !timing.DueAt.Equal(want) {
			t.Errorf("%s is due at %v, want %v", c.priority, timing.DueAt, want)
		}
		for deadline, at := range c.want {
			now := instant(t, at)
			if timing.NextAt == nil || !timing.NextAt.Equal(now) {
				t.Fatalf("%s: the next deadline, %d, is at %v, want %s", c.priority, deadline, timing.NextAt, at)
			}
			if early := timing; len(early.Advance(now.Add(-time.Second))) != 0 {
				t.Errorf("%s: deadline %d came a second early", c.priority, deadline)
			}
			notices := timing.Advance(now)
			if len(notices) != 1 || notices[0] != (Notice{Deadline(deadline), deadline}) {
				t.Errorf("%s at %s: %+v", c.priority, at, notices)
			}
			if again := timing.Advance(now); len(again) != 0 {
				t.Errorf("%s at %s, again: %+v", c.priority, at, again)
			}
		}
		if timing.NextAt != nil {
			t.Errorf("%s: after the last level something comes at %v", c.priority, timing.NextAt)
		}
	}
}

// A worker that was down does all at once, and reminds nobody of what is over.
func TestActionTimingCatchesUp(t *testing.T) {
	t.Parallel()
	timing, now := startedAt(t, PriorityUrgent, "2026-01-04T08:00:00+03:00")
	want := []Notice{{DeadlineBreach, 1}, {DeadlineSecondLevel, 2}, {DeadlineThirdLevel, 3}}
	if got := timing.Advance(now.AddDate(0, 0, 7)); !slices.Equal(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestActionTimingPauses(t *testing.T) {
	t.Parallel()
	timing, start := startedAt(t, PriorityUrgent, "2026-01-04T08:00:00+03:00")
	timing.ChangeStatus(ActionOnHold, start.Add(2*time.Hour))
	if timing.DueAt != nil || timing.NextAt != nil {
		t.Errorf("on hold it is due at %v, and something comes at %v", timing.DueAt, timing.NextAt)
	}
	if notices := timing.Advance(start.AddDate(1, 0, 0)); len(notices) != 0 {
		t.Errorf("on hold: %+v", notices)
	}
	back := start.AddDate(0, 0, 3)
	timing.ChangeStatus(ActionInProgress, back)
	if want := back.Add(2 * time.Hour); !timing.DueAt.Equal(want) || !timing.NextAt.Equal(back.Add(time.Hour)) {
		t.Errorf("taken up again it is due at %v, want %v; reminded at %v", timing.DueAt, want, timing.NextAt)
	}
	// By the business clock two hours were used, of nine: Wednesday 08:00 is when it goes on.
	timing.ChangePriority(PriorityLow, back)
	if want := back.Add(7 * time.Hour); !timing.DueAt.Equal(want) {
		t.Errorf("with a lower priority it is due at %v, want %v", timing.DueAt, want)
	}
	// One that is overdue when it stands stays so, and its breach is noticed.
	late := back.Add(8 * time.Hour)
	timing.ChangeStatus(ActionPendingApproval, late)
	if timing.DueAt == nil || timing.NextAt == nil || !slices.Equal(timing.Advance(late), []Notice{{DeadlineBreach, 1}}) {
		t.Errorf("overdue, and standing: due at %v, next at %v", timing.DueAt, timing.NextAt)
	}
	if timing.NextAt != nil {
		t.Errorf("then something comes at %v, while it stands", timing.NextAt)
	}
}

// A level that somebody took it to is not taken back, and those after it come when they would have.
func TestActionTimingEscalates(t *testing.T) {
	t.Parallel()
	timing, start := startedAt(t, PriorityUrgent, "2026-01-04T08:00:00+03:00")
	timing.Escalate(2, start)
	if got := timing.Advance(start.Add(5 * time.Hour)); !slices.Equal(got, []Notice{{DeadlineBreach, 0}}) {
		t.Errorf("breached: %+v", got)
	}
	if got := timing.Advance(start.Add(28 * time.Hour)); !slices.Equal(got, []Notice{{DeadlineThirdLevel, 3}}) {
		t.Errorf("a day later: %+v", got)
	}
}

func TestWebhookRetryAfter(t *testing.T) {
	t.Parallel()
	if wait, again := WebhookRetryAfter(1, 0.5, 0); wait != 5*time.Second || !again {
		t.Errorf("after the first: %v, %v", wait, again)
	}
	if wait, _ := WebhookRetryAfter(9, 0, 0); wait != 24*time.Hour*8/10 {
		t.Errorf("after the ninth, at the earliest: %v", wait)
	}
	if _, again := WebhookRetryAfter(10, 0.5, time.Hour); again {
		t.Error("after the tenth there is another")
	}
	if wait, _ := WebhookRetryAfter(1, 0.5, 48*time.Hour); wait != 24*time.Hour {
		t.Errorf("asked for two days: %v", wait)
	}
	now := time.Date(2026, 1, 5, 6, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "120": 2 * time.Minute, "-5": 0, "soon": 0, "99999999999999999999": 0,
		"Mon, 05 Jan 2026 07:00:00 GMT": time.Hour, "Mon, 05 Jan 2026 05:00:00 GMT": 0,
	} {
		if got := RetryAfterHeader(http.Header{"Retry-After": {text}}, now); got != want {
			t.Errorf("%q: %v, want %v", text, got, want)
		}
	}
}
