package rules_test

import (
	"testing"
	"time"

	"github.com/px360/px360/queries/rules"
)

func TestDecideSending(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 5, 12, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	good := rules.SendingFacts{
		Kind: rules.KindInvitation, TemplateActive: true, Questions: 1, CompletedAt: now.Add(-2 * time.Hour), ReceivedAt: now.Add(-time.Hour),
		DueAt: now, MaxAge: 14 * day, PatientActive: true, Channels: []string{"sms"}, AskedLately: 2, ContactCap: 3,
		Quiet: rules.QuietHours{Start: 21 * 60, End: 9 * 60, Zone: time.UTC},
	}
	evening := time.Date(2026, 1, 5, 22, 0, 0, 0, time.UTC)
	morning := time.Date(2026, 1, 6, 9, 0, 0, 0, time.UTC)
	// Each change breaks one rule more: the first of them in the order of the contract decides.
	broken := []struct {
		rule   string
		change func(*rules.SendingFacts)
	}{
		{rules.RuleContactCap, func(f *rules.SendingFacts) { f.AskedLately = 3 }},
		{rules.RuleNoContact, func(f *rules.SendingFacts) { f.Channels = nil }},
		{rules.RulePatientOptedOut, func(f *rules.SendingFacts) { f.OptedOut = true }},
		{rules.RulePatientInactive, func(f *rules.SendingFacts) { f.PatientActive = false }},
		{rules.RuleTooOld, func(f *rules.SendingFacts) { f.CompletedAt = f.ReceivedAt.Add(-15 * day) }},
		{rules.RuleNoQuestions, func(f *rules.SendingFacts) { f.Questions = 0 }},
		{rules.RuleTemplateInactive, func(f *rules.SendingFacts) { f.TemplateActive = false }},
		{rules.RuleJourneyCancelled, func(f *rules.SendingFacts) { f.JourneyCancelled = true }},
	}
	if d := rules.DecideSending(now, good); d.Outcome != rules.OutcomeQueued || d.Rule != rules.KindInvitation {
		t.Errorf("a good survey: %+v", d)
	}
	if d := rules.DecideSending(evening, good); d.Outcome != rules.OutcomeDeferred || d.Rule != rules.RuleQuietHours || !d.Until.Equal(morning) {
		t.Errorf("in quiet hours: %+v", d)
	}
	worse := good
	for _, b := range broken {
		alone := good
		b.change(&alone)
		b.change(&worse)
		for _, f := range []rules.SendingFacts{alone, worse} {
			if d := rules.DecideSending(evening, f); d.Outcome != rules.OutcomeSkipped || d.Rule != b.rule {
				t.Errorf("%s: %+v", b.rule, d)
			}
		}
	}
	late := good
	late.DueAt = now.Add(-15 * day)
	if d := rules.DecideSending(now, late); d.Rule != rules.RuleTooOld {
		t.Errorf("a survey that was due long ago: %+v", d)
	}
	capped := good
	capped.AskedLately, capped.IgnoreContactCap = 9, true
	reminder := good
	reminder.Kind, reminder.AskedLately, reminder.TemplateActive, reminder.DueAt = rules.KindReminder, 9, false, late.DueAt
	for _, f := range []rules.SendingFacts{capped, reminder} {
		if d := rules.DecideSending(now, f); d.Outcome != rules.OutcomeQueued || d.Rule != f.Kind {
			t.Errorf("%s over the cap: %+v", f.Kind, d)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	t.Parallel()
	total := time.Duration(0)
	attempts := 1
	for ; ; attempts++ {
		wait, again := rules.RetryAfter(attempts)
		if !again {
			break
		}
		total += wait
	}
	if attempts != 6 || total != 8*time.Hour+36*time.Minute {
		t.Errorf("%d attempts within %v", attempts, total)
	}
}
