package rules

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Where an action stands: ActionStatus of the contract.
const (
	ActionOpen            = "open"
	ActionInProgress      = "in_progress"
	ActionOnHold          = "on_hold"          // waits for the patient
	ActionPendingApproval = "pending_approval" // somebody says that it is solved
	ActionApproved        = "approved"
	ActionClosed          = "closed"
	ActionCancelled       = "cancelled"
)

// How urgent an action is: ActionPriority of the contract.
const (
	PriorityLow    = "low"
	PriorityMedium = "medium"
	PriorityHigh   = "high"
	PriorityUrgent = "urgent"
)

// Where an action comes from: two of ActionSource of the contract.
const (
	SourceSurvey = "survey" // opened by the answers of a survey; no client can state it
	SourceManual = "manual"
)

// actionSteps are the changes of an action's status. Source: the contract's ActionStatus.
var actionSteps = map[string][]string{
	ActionOpen:            {ActionInProgress, ActionOnHold, ActionPendingApproval, ActionCancelled},
	ActionInProgress:      {ActionOpen, ActionOnHold, ActionPendingApproval, ActionCancelled},
	ActionOnHold:          {ActionInProgress, ActionCancelled},
	ActionPendingApproval: {ActionInProgress, ActionApproved},
	ActionApproved:        {ActionClosed, ActionInProgress},
	ActionClosed:          {ActionInProgress},
}

// ActionMayBecome tells whether an action may change its status so. The same status again is no change, and false.
func ActionMayBecome(from, to string) bool { return slices.Contains(actionSteps[from], to) }

// ActionEnded tells whether nothing is to be done about an action any more, unless it is reopened.
func ActionEnded(status string) bool {
	return status == ActionApproved || status == ActionClosed || status == ActionCancelled
}

// ActionNeedsApproval tells whether a change of status is for those who approve: approving, closing and reopening.
func ActionNeedsApproval(from, to string) bool {
	return to == ActionApproved || to == ActionClosed || ActionReopens(from, to)
}

// ActionReopens tells whether a change of status takes up an action again that was solved.
func ActionReopens(from, to string) bool { return ActionEnded(from) && !ActionEnded(to) }

// ActionRuns tells whether the clock of an action of that status runs.
func ActionRuns(status string) bool { return status == ActionOpen || status == ActionInProgress }

// SurveyPriority is the priority of the action that the answers of a survey open; it is false if they open none. Source:
// is_negative of the contract's SurveyInstance, and action_on of its SurveyQuestion.
func SurveyPriority(negative, called bool) (priority string, opens bool) {
	switch {
	case negative && called:
		return PriorityUrgent, true
	case negative:
		return PriorityHigh, true
	case called:
		return PriorityMedium, true
	}
	return "", false
}

// The clocks by which a target is meant: SLAClock of the contract.
const (
	ClockCalendar = "calendar" // always runs
	ClockBusiness = "business" // runs in business hours
)

// A Target is how long an action of a priority may take: SLATarget of the contract.
type Target struct {
	Hours   int32  `json:"hours"`
	Seconds int32  `json:"seconds,omitempty"` // more
	Clock   string `json:"clock"`
}

func (t Target) duration() time.Duration {
	return time.Duration(t.Hours)*time.Hour + time.Duration(t.Seconds)*time.Second
}

// Targets are those of each priority: ActionSLA of the contract.
type Targets struct {
	Low    Target `json:"low"`
	Medium Target `json:"medium"`
	High   Target `json:"high"`
	Urgent Target `json:"urgent"`
}

// Of is the target of a priority.
func (t Targets) Of(priority string) Target {
	return map[string]Target{PriorityLow: t.Low, PriorityMedium: t.Medium, PriorityHigh: t.High, PriorityUrgent: t.Urgent}[priority]
}

// Some tells whether each target has some time.
func (t Targets) Some() bool {
	return !slices.ContainsFunc([]Target{t.Low, t.Medium, t.High, t.Urgent}, func(one Target) bool { return one.duration() <= 0 })
}

// UsesBusinessHours tells whether a target is meant by the business clock.
func (t Targets) UsesBusinessHours() bool {
	return slices.ContainsFunc([]Target{t.Low, t.Medium, t.High, t.Urgent}, func(one Target) bool { return one.Clock == ClockBusiness })
}

// An SLA is what a hospital promises, with all that its clocks go by. An action keeps the one that its clock started with.
type SLA struct {
	Timezone      string        `json:"timezone"`
	BusinessHours BusinessHours `json:"business_hours"`
	Holidays      []string      `json:"holidays"`
	Targets       Targets       `json:"action_sla"`
}

// After a breach, this much later on the same clock, it goes to the next level.
const (
	secondLevelAfter = 8 * time.Hour
	thirdLevelAfter  = 24 * time.Hour
)

// MaxEscalationLevel is the highest: see EscalationLevel in the contract.
const MaxEscalationLevel = 3

// A Deadline is something that the clock of an action leads to.
type Deadline int

// The deadlines, in the order in which they come.
const (
	DeadlineReminder    Deadline = iota // three quarters of the time have passed
	DeadlineBreach                      // all of it: level 1
	DeadlineSecondLevel                 // 8 hours later
	DeadlineThirdLevel                  // 24 hours later
)

// An ActionClock measures how long an action has taken, by the calendar and by business hours at the same time, so that
// another priority, whose target is by the other clock, can be reckoned from its start less the pauses.
type ActionClock struct {
	sla          SLA
	calendar     Calendar
	RunningSince *time.Time    // nil while it stands
	UsedCalendar time.Duration // before RunningSince
	UsedBusiness time.Duration
}

// StartClock is a clock that starts now.
func StartClock(sla SLA, now time.Time) (ActionClock, error) {
	return RestoreClock(sla, &now, 0, 0)
}

// RestoreClock is a clock as it was kept. The error is that the SLA cannot be read.
func RestoreClock(sla SLA, runningSince *time.Time, usedCalendar, usedBusiness time.Duration) (c ActionClock, err error) {
	c = ActionClock{sla: sla, RunningSince: runningSince, UsedCalendar: usedCalendar, UsedBusiness: usedBusiness}
	c.calendar, err = NewCalendar(sla.BusinessHours, sla.Holidays, sla.Timezone)
	return c, err
}

// Stop lets the clock stand from now on.
func (c *ActionClock) Stop(now time.Time) {
	if c.RunningSince == nil {
		return
	}
	if now.After(*c.RunningSince) { // unless the clock of the machine was put back
		c.UsedCalendar += now.Sub(*c.RunningSince)
		c.UsedBusiness += c.calendar.Between(*c.RunningSince, now)
	}
	c.RunningSince = nil
}

// Resume lets it go on.
func (c *ActionClock) Resume(now time.Time) {
	if c.RunningSince == nil {
		c.RunningSince = &now
	}
}

// At is when the clock comes to a deadline of a priority. It is false if the clock stands, or was there before it stood
// the last time.
func (c *ActionClock) At(priority string, deadline Deadline) (at time.Time, ok bool) {
	if c.RunningSince == nil {
		return at, false
	}
	left, business := c.left(priority, deadline)
	switch {
	case left < 0:
		return at, false
	case business:
		return c.calendar.Add(*c.RunningSince, left), true
	}
	return c.RunningSince.Add(left), true
}

// Passed tells whether the clock has come to a deadline by now.
func (c *ActionClock) Passed(priority string, deadline Deadline, now time.Time) bool {
	if left, _ := c.left(priority, deadline); left <= 0 {
		return true
	}
	at, ok := c.At(priority, deadline)
	return ok && !now.Before(at)
}

// left is what was left to a deadline when the clock began to run, or else is left to it.
func (c *ActionClock) left(priority string, deadline Deadline) (left time.Duration, business bool) {
	target := c.sla.Targets.Of(priority)
	total := target.duration()
	switch deadline {
	case DeadlineReminder:
		total = total * 3 / 4
	case DeadlineSecondLevel:
		total += secondLevelAfter
	case DeadlineThirdLevel:
		total += thirdLevelAfter
	}
	if target.Clock == ClockBusiness {
		return total - c.UsedBusiness, true
	}
	return total - c.UsedCalendar, false
}

// ActionTexts are what an action that a survey opens is called and described as, in the hospital's language. They say
// where to look, and nothing of what was answered: everyone may read actions, but not every answer.
func ActionTexts(language, about, aboutAr, survey, surveyAr string) (title, description string) {
	if language == Arabic {
		return "متابعة مطلوبة: " + cmp.Or(aboutAr, about, "الزيارة"), fmt.Sprintf("طلب الاستبيان «%s» متابعة هذه التجربة.", cmp.Or(surveyAr, survey))
	}
	return "Follow-up needed: " + cmp.Or(about, aboutAr, "the visit"), fmt.Sprintf("The survey “%s” calls for a follow-up.", cmp.Or(survey, surveyAr))
}
