package rules

import "time"

// Where a survey stands: SurveyStatus of the contract. The last five are ends.
const (
	SurveyPending    = "pending"
	SurveySent       = "sent"
	SurveyViewed     = "viewed"
	SurveyInProgress = "in_progress"
	SurveyCompleted  = "completed"
	SurveyExpired    = "expired"   // nothing was answered in time
	SurveyAbandoned  = "abandoned" // something was, but it was not completed in time
	SurveyCancelled  = "cancelled"
	SurveySkipped    = "skipped"
	SurveyFailed     = "failed" // no channel could deliver it
)

// SurveyEnded tells whether a survey with this status is at an end.
func SurveyEnded(status string) bool {
	switch status {
	case SurveyPending, SurveySent, SurveyViewed, SurveyInProgress:
		return false
	}
	return true
}

// What is decided when a survey is due, and what is sent then: the outcomes of a Decision and the kinds of messages.
const (
	OutcomeQueued   = "queued"
	OutcomeDeferred = "deferred"
	OutcomeSkipped  = "skipped"

	KindInvitation = "invitation"
	KindReminder   = "reminder"
	KindResend     = "resend" // asked for by a user
)

// Why a survey is not sent, or not yet: the rules of a Decision, in the order in which they are asked.
const (
	RuleJourneyCancelled = "journey_cancelled"
	RuleTemplateInactive = "template_inactive"
	RuleNoQuestions      = "no_questions"
	RuleTooOld           = "too_old"
	RulePatientInactive  = "patient_inactive"
	RulePatientOptedOut  = "patient_opted_out"
	RuleNoContact        = "no_contact"
	RuleContactCap       = "contact_cap"
	RuleQuietHours       = "quiet_hours"
)

// ReasonUndeliverable is why a survey failed: no channel could deliver it.
const ReasonUndeliverable = "undeliverable"

// SendingFacts are what a decision on sending depends on.
type SendingFacts struct {
	Kind             string
	JourneyCancelled bool
	TemplateActive   bool
	Questions        int
	CompletedAt      time.Time     // what the survey is about
	ReceivedAt       time.Time     // when that was known here
	DueAt            time.Time     // with the delay
	MaxAge           time.Duration // of completion when it is received, and of what is due
	PatientActive    bool
	OptedOut         bool
	Channels         []string // by which the patient can be reached, the first one first
	AskedLately      int      // other surveys within the days of the contact cap
	ContactCap       int
	IgnoreContactCap bool
	Quiet            QuietHours
}

// A Decision on a survey that is due, as it is kept with it.
type Decision struct {
	At      time.Time  `json:"at"`
	Rule    string     `json:"rule"` // what it was decided by; of what is sent the kind of message
	Outcome string     `json:"outcome"`
	Until   *time.Time `json:"until"` // of what is deferred
}

// DecideSending decides whether a message of a survey is sent now. What is skipped is never sent.
func DecideSending(now time.Time, f SendingFacts) Decision {
	rule := ""
	switch {
	case f.JourneyCancelled:
		rule = RuleJourneyCancelled
	case f.Kind == KindInvitation && !f.TemplateActive:
		rule = RuleTemplateInactive
	case f.Questions == 0:
		rule = RuleNoQuestions
	case f.Kind == KindInvitation && f.tooOld(now):
		rule = RuleTooOld
	case !f.PatientActive:
		rule = RulePatientInactive
	case f.OptedOut:
		rule = RulePatientOptedOut
	case len(f.Channels) == 0:
		rule = RuleNoContact
	case f.Kind == KindInvitation && !f.IgnoreContactCap && f.AskedLately >= f.ContactCap:
		rule = RuleContactCap
	case f.Quiet.Contain(now):
		until := f.Quiet.After(now)
		return Decision{now, RuleQuietHours, OutcomeDeferred, &until}
	default:
		return Decision{now, f.Kind, OutcomeQueued, nil}
	}
	return Decision{now, rule, OutcomeSkipped, nil}
}

// tooOld tells whether a survey would come too late: because events were loaded long after they happened, or because
// nothing was sent for long.
func (f SendingFacts) tooOld(now time.Time) bool {
	return f.ReceivedAt.Sub(f.CompletedAt) > f.MaxAge || now.Sub(f.DueAt) > f.MaxAge
}

// retryDelays are how long after a temporary fault a message is tried again.
var retryDelays = [...]time.Duration{time.Minute, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 6 * time.Hour}

// RetryAfter is how long to wait before a message is tried again, after so many attempts; it is false if they were
// enough.
func RetryAfter(attempts int) (time.Duration, bool) {
	if attempts < 1 || attempts > len(retryDelays) {
		return 0, false
	}
	return retryDelays[attempts-1], true
}

// NextReminder is when the next reminder is due, after so many were; it is false if there are no more.
func NextReminder(sentAt time.Time, hours []int32, reminders int) (time.Time, bool) {
	if reminders >= len(hours) {
		return time.Time{}, false
	}
	return sentAt.Add(time.Duration(hours[reminders]) * time.Hour), true
}
