package rules

import "time"

// An ActionTiming is how an action stands in time: its clock, and what it has come to.
type ActionTiming struct {
	Status          string
	Priority        string
	Clock           ActionClock
	DueAt           *time.Time // nil while the clock stands, unless it was overdue before
	RemindedAt      *time.Time
	BreachedAt      *time.Time
	EscalationLevel int
	NextAt          *time.Time // when Advance has something to do; nil: not before something else happens
}

// A Notice is something that the clock of an action came to, and somebody has to hear of.
type Notice struct {
	Deadline Deadline
	Level    int // of the escalation that follows; 0: none
}

// Start starts the clock, for the first time or, when an action is taken up again, anew.
func (t *ActionTiming) Start(sla SLA, now time.Time) (err error) {
	if t.Clock, err = StartClock(sla, now); err != nil {
		return err
	}
	t.DueAt, t.RemindedAt, t.BreachedAt, t.EscalationLevel = nil, nil, nil, 0
	t.schedule(now)
	return nil
}

// ChangeStatus lets the clock run or stand as the status wants it. Taking an action up again is for Start.
func (t *ActionTiming) ChangeStatus(status string, now time.Time) {
	t.Status = status
	if ActionRuns(status) {
		t.Clock.Resume(now)
	} else {
		t.Clock.Stop(now)
	}
	t.schedule(now)
}

// ChangePriority moves the deadlines, reckoned from the start of the clock less the pauses.
func (t *ActionTiming) ChangePriority(priority string, now time.Time) {
	t.Priority = priority
	t.schedule(now)
}

// Escalate takes the action to a level that is higher than its own.
func (t *ActionTiming) Escalate(level int, now time.Time) {
	t.EscalationLevel = level
	t.schedule(now)
}

// Advance does what has become due by now, each thing once, and tells what that was.
func (t *ActionTiming) Advance(now time.Time) (notices []Notice) {
	breached := t.Clock.Passed(t.Priority, DeadlineBreach, now)
	if !breached && t.RemindedAt == nil && t.Clock.Passed(t.Priority, DeadlineReminder, now) {
		t.RemindedAt = &now
		notices = append(notices, Notice{Deadline: DeadlineReminder})
	}
	if breached && t.BreachedAt == nil {
		t.BreachedAt = &now
		notice := Notice{Deadline: DeadlineBreach}
		if t.EscalationLevel < 1 {
			t.EscalationLevel, notice.Level = 1, 1
		}
		notices = append(notices, notice)
	}
	for i, deadline := range []Deadline{DeadlineSecondLevel, DeadlineThirdLevel} {
		if level := i + 2; t.EscalationLevel < level && t.Clock.Passed(t.Priority, deadline, now) {
			t.EscalationLevel = level
			notices = append(notices, Notice{Deadline: deadline, Level: level})
		}
	}
	t.schedule(now)
	return notices
}

// schedule finds out when the action is due, and when Advance is called next.
func (t *ActionTiming) schedule(now time.Time) {
	breached := t.Clock.Passed(t.Priority, DeadlineBreach, now)
	at, ok := t.Clock.At(t.Priority, DeadlineBreach)
	switch {
	case ok:
		t.DueAt = &at
	case breached && (t.DueAt == nil || now.Before(*t.DueAt)): // by another priority, before the clock stood
		t.DueAt = &now
	case !breached:
		t.DueAt = nil
	}
	t.NextAt = nil
	if t.BreachedAt == nil && breached { // also when it stands: it was overdue before
		t.NextAt = &now
		return
	}
	for deadline, waits := range []bool{
		DeadlineReminder:    t.RemindedAt == nil && t.BreachedAt == nil,
		DeadlineBreach:      t.BreachedAt == nil,
		DeadlineSecondLevel: t.EscalationLevel < 2,
		DeadlineThirdLevel:  t.EscalationLevel < MaxEscalationLevel,
	} {
		if !waits || t.Clock.RunningSince == nil {
			continue
		}
		at, ok := t.Clock.At(t.Priority, Deadline(deadline))
		if !ok { // it was there before it stood
			at = now
		}
		t.NextAt = &at
		return
	}
}
