package surveys

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries/rules"
	"github.com/px360/px360/worker/channels"
)

// decisionBatch is how many surveys a transaction decides on.
const decisionBatch = 500

// transactionTimeout is how long a transaction may take, also after the service was told to stop.
const transactionTimeout = 15 * time.Second

// A plan is what becomes of a survey that was due.
type plan struct {
	status, reason string
	next           time.Time // zero: not by itself
	decision       *rules.Decision
	channel        string // of the message that is queued; blank for none
	kind           string
	reminders      int32
	resend         bool // still to be done
}

// decideBatch decides on surveys that are due. It tells whether there may be more.
func (s *Service) decideBatch(ctx context.Context) (more bool, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), transactionTimeout)
	defer cancel()
	var plans []plan
	err = s.database.InTx(ctx, func(q *db.Queries) error {
		plans = nil
		now, err := q.Now(ctx)
		if err != nil {
			return err
		}
		ids, err := q.SurveyClaimDue(ctx, db.SurveyClaimDueParams{Now: now, Most: decisionBatch})
		if err != nil || len(ids) == 0 {
			return err
		}
		if _, err := q.SurveyLockPatients(ctx, ids); err != nil {
			return err
		}
		rows, err := q.SurveySendingFacts(ctx, db.SurveySendingFactsParams{Now: now, Surveys: ids})
		if err != nil {
			return err
		}
		contacts, err := s.contacts(ctx, q, rows)
		if err != nil {
			return err
		}
		askedNow := map[uuid.UUID]int{} // by patient, in this transaction
		for i := range rows {
			p := s.plan(now, &rows[i], contacts[i], askedNow[rows[i].Patient])
			if p.kind == rules.KindInvitation && p.channel != "" {
				askedNow[rows[i].Patient]++
			}
			plans = append(plans, p)
		}
		return s.write(ctx, q, now, rows, plans)
	})
	if err != nil {
		return false, err
	}
	for _, p := range plans {
		if p.decision != nil {
			s.outcomes.WithLabelValues(p.decision.Rule, p.decision.Outcome).Inc()
		}
	}
	return len(plans) == decisionBatch, nil
}

// contacts are the channels by which the patient of each survey can be reached, in the order of the hospital's.
func (s *Service) contacts(ctx context.Context, q *db.Queries, rows []db.SurveySendingFactsRow) ([][]string, error) {
	type candidate struct {
		row     int
		channel string
	}
	var ask db.SurveySuppressedParams
	var candidates []candidate
	for i := range rows {
		for _, name := range rows[i].Channels {
			address, ok := s.address(name, rows[i].Phone, rows[i].Email)
			if !ok {
				continue
			}
			ask.Positions = append(ask.Positions, int32(len(candidates)))
			ask.Hospitals = append(ask.Hospitals, rows[i].Hospital)
			ask.Addresses = append(ask.Addresses, address)
			candidates = append(candidates, candidate{i, name})
		}
	}
	suppressed, err := q.SurveySuppressed(ctx, ask)
	if err != nil {
		return nil, err
	}
	contacts := make([][]string, len(rows))
	for i, c := range candidates {
		if !slices.Contains(suppressed, int32(i)) {
			contacts[c.row] = append(contacts[c.row], c.channel)
		}
	}
	return contacts, nil
}

// address is a patient's address on a channel; it is false if there is none, or the channel is not configured.
func (s *Service) address(channel, phone, email string) (string, bool) {
	c := s.Channels[channel]
	if c == nil {
		return "", false
	}
	if channel == channels.SMS {
		return c.Address(phone)
	}
	return c.Address(email)
}

// plan decides on one survey.
func (s *Service) plan(now time.Time, row *db.SurveySendingFactsRow, contacts []string, askedNow int) plan {
	p := plan{status: row.Status, reminders: row.Reminders}
	if row.SentAt != nil && !now.Before(*row.ExpiresAt) {
		p.status = rules.SurveyExpired
		if row.StartedAt != nil {
			p.status = rules.SurveyAbandoned
		}
		return p
	}
	p.kind = rules.KindInvitation
	switch reminder, more := s.nextReminder(row); {
	case row.SentAt == nil && row.AskedAt != nil:
		return p // a message is on its way
	case row.SentAt == nil:
	case row.Resend:
		p.kind = rules.KindResend
	case more && !now.Before(reminder):
		p.kind = rules.KindReminder
	default:
		p.next = s.next(row, p.reminders)
		return p
	}
	quiet := s.quietHours(row.Hospital, row.QuietHoursStart, row.QuietHoursEnd, row.Timezone)
	decision := rules.DecideSending(now, rules.SendingFacts{
		Kind: p.kind, JourneyCancelled: row.JourneyStatus == rules.JourneyCancelled, TemplateActive: row.TemplateActive,
		Questions: int(row.Questions), CompletedAt: row.CompletedAt, ReceivedAt: row.DueAt.Add(-time.Duration(row.DelayHours) * time.Hour),
		DueAt: row.DueAt, MaxAge: s.MaxAge, PatientActive: row.PatientStatus == "active", OptedOut: row.SurveyOptOut, Channels: contacts,
		AskedLately: int(row.AskedLately) + askedNow, ContactCap: int(row.ContactCapSurveys), IgnoreContactCap: row.IgnoreContactCap, Quiet: quiet,
	})
	p.decision = &decision
	if p.kind == rules.KindReminder && decision.Outcome != rules.OutcomeDeferred {
		p.reminders++
	}
	switch {
	case decision.Outcome == rules.OutcomeDeferred:
		p.next, p.resend = *decision.Until, p.kind == rules.KindResend
	case decision.Outcome == rules.OutcomeQueued:
		p.channel = contacts[0]
	case p.kind == rules.KindInvitation:
		p.status, p.reason = rules.SurveySkipped, decision.Rule
	}
	if p.kind != rules.KindInvitation && decision.Outcome != rules.OutcomeDeferred {
		p.next = s.next(row, p.reminders)
	}
	return p
}

func (s *Service) nextReminder(row *db.SurveySendingFactsRow) (time.Time, bool) {
	if row.SentAt == nil {
		return time.Time{}, false
	}
	return rules.NextReminder(*row.SentAt, row.ReminderHours, int(row.Reminders))
}

// next is when a survey that was sent has to be looked at again.
func (s *Service) next(row *db.SurveySendingFactsRow, reminders int32) time.Time {
	reminder, more := rules.NextReminder(*row.SentAt, row.ReminderHours, int(reminders))
	if more && reminder.Before(*row.ExpiresAt) {
		return reminder
	}
	return *row.ExpiresAt
}

// write stores the plans, and queues their messages.
func (s *Service) write(ctx context.Context, q *db.Queries, now time.Time, rows []db.SurveySendingFactsRow, plans []plan) error {
	key := []byte(s.SecretKey)
	decide := db.SurveyDecideParams{Now: now, LinkKey: rules.LinkKeyID(key)}
	var messages db.SurveyMessageInsertParams
	var asked []uuid.UUID
	for i, p := range plans {
		row := &rows[i]
		decision := ""
		if p.decision != nil {
			text, err := json.Marshal(p.decision)
			if err != nil {
				return err
			}
			decision = string(text)
		}
		if p.next.IsZero() {
			p.next = time.Unix(0, 0) // infinity, see the query
		}
		first := p.channel != "" && p.kind == rules.KindInvitation
		hash, _ := rules.LinkTokenHash(rules.NewLinkToken(key, row.ID))
		decide.Surveys = append(decide.Surveys, row.ID)
		decide.Statuses = append(decide.Statuses, p.status)
		decide.Reasons = append(decide.Reasons, p.reason)
		decide.NextAt = append(decide.NextAt, p.next)
		decide.Reminders = append(decide.Reminders, p.reminders)
		decide.Resend = append(decide.Resend, p.resend)
		decide.Decisions = append(decide.Decisions, decision)
		decide.Asked = append(decide.Asked, first)
		decide.ExpiresAt = append(decide.ExpiresAt, now.AddDate(0, 0, int(row.ExpiresAfterDays)))
		decide.Languages = append(decide.Languages, cmp.Or(row.PatientLanguage, row.HospitalLanguage))
		decide.TokenHashes = append(decide.TokenHashes, hash)
		if first {
			asked = append(asked, row.ID)
		}
		if p.channel != "" {
			addMessage(&messages, row.ID, p.kind, p.channel)
		}
	}
	if err := q.SurveyDecide(ctx, decide); err != nil {
		return err
	}
	if len(asked) > 0 {
		if err := q.SurveyBindSections(ctx, asked); err != nil {
			return err
		}
	}
	if len(messages.Ids) == 0 {
		return nil
	}
	return q.SurveyMessageInsert(ctx, messages)
}

func addMessage(to *db.SurveyMessageInsertParams, survey uuid.UUID, kind, channel string) {
	to.Ids = append(to.Ids, uuid.Must(uuid.NewV7()))
	to.Surveys = append(to.Surveys, survey)
	to.Kinds = append(to.Kinds, kind)
	to.Channels = append(to.Channels, channel)
}
