package surveys

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/queries/rules"
	"github.com/px360/px360/worker/channels"
)

const (
	// messageBatch is how many messages a sender claims at a time.
	messageBatch = 20
	// mostClaims is how often a message is claimed at most. It bounds what a patient gets whose message ends its sender
	// each time. A claim is of a batch, so most of the claims that a killed process leaves behind sent nothing.
	mostClaims = 20
	// patience is how long a sender has, from the claim, to say what became of its messages. Then others send them again.
	patience = 2 * time.Minute
	// sendingTime is how long a sender takes for its batch at most. What it could not send until then is queued again.
	sendingTime = 90 * time.Second
)

// The states of a message.
const (
	messageQueued    = "queued"
	messageSent      = "sent"
	messageFailed    = "failed"
	messageCancelled = "cancelled"
)

// A result is what became of a message.
type result struct {
	message    *claimed
	status     string
	wait       time.Duration // of what is queued again
	providerID string
	problem    string
	hopeless   bool // no other channel could do better
	made       bool // an attempt was made; else the message is only given back
}

// sendBatch claims messages of a channel and sends them one after the other, over one connection as long as that works.
// It tells whether there may be more.
func (s *Service) sendBatch(ctx context.Context, name string) (more bool, err error) {
	began := time.Now()
	messages, err := s.claim(ctx, name)
	if err != nil || len(messages) == 0 {
		return false, err
	}
	// What was claimed is finished, also when the service is told to stop.
	working, cancel := context.WithDeadline(context.WithoutCancel(ctx), began.Add(sendingTime))
	defer cancel()
	sender := channels.Sender{Channel: s.Channels[name]}
	defer sender.Close()
	for i := range messages {
		r := result{message: &messages[i], status: messageQueued}
		if ctx.Err() == nil && working.Err() == nil {
			s.send(working, &sender, &r)
		}
		s.messages.WithLabelValues(name, r.status).Inc()
		if r.problem != "" {
			s.Log.WarnContext(ctx, "message not sent", "message", r.message.ID, "survey", r.message.Survey, "channel", name,
				"attempt", r.message.Attempt, "status", r.status, "error", r.problem)
		}
		if err := s.finish(context.WithoutCancel(ctx), began.Add(patience), r); err != nil {
			return false, err
		}
	}
	return len(messages) == messageBatch, nil
}

// claim makes messages this sender's, and reads them.
func (s *Service) claim(ctx context.Context, name string) (messages []claimed, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), transactionTimeout)
	defer cancel()
	err = s.database.Read(ctx, func(q *db.Queries) error {
		ids, err := q.SurveyMessageClaim(ctx, db.SurveyMessageClaimParams{
			PatienceSeconds: int32(patience.Seconds()), Channel: name, Most: messageBatch,
		})
		if err != nil || len(ids) == 0 {
			return err
		}
		rows, err := q.SurveyMessageFacts(ctx, ids)
		if err != nil {
			return err
		}
		var ask db.SurveySuppressedParams
		for i, row := range rows {
			m := claimed{SurveyMessageFactsRow: row}
			m.address, m.reachable = s.address(row.Channel, row.Phone, row.Email)
			ask.Positions, ask.Hospitals, ask.Addresses = append(ask.Positions, int32(i)), append(ask.Hospitals, row.Hospital), append(ask.Addresses, m.address)
			messages = append(messages, m)
		}
		suppressed, err := q.SurveySuppressed(ctx, ask)
		for _, i := range suppressed {
			messages[i].unwanted = true
		}
		return err
	})
	return messages, err
}

// A claimed message is this sender's.
type claimed struct {
	db.SurveyMessageFactsRow
	address   string
	reachable bool
	unwanted  bool // the address was suppressed since it was queued
}

// send sends a message, unless nobody is to get it any more.
func (s *Service) send(ctx context.Context, sender *channels.Sender, r *result) {
	m := r.message
	switch {
	case rules.SurveyEnded(m.SurveyStatus) || m.SurveyOptOut || m.unwanted:
		r.status, r.made = messageCancelled, true
		return
	case s.quietHours(m.Hospital, m.QuietHoursStart, m.QuietHoursEnd, m.Timezone).Contain(time.Now()):
		return // it waited in the queue until they began
	}
	r.made = true
	if m.Attempt > mostClaims {
		r.fail(errNoOutcome, true) // each of its senders ended before it could say what became of it
		return
	}
	message, err := s.compose(m)
	if err != nil {
		r.hopeless = errors.Is(err, errLinkKey)
		r.fail(err, true)
		return
	}
	r.providerID, err = sender.Send(ctx, message)
	if r.providerID = channels.Storable(r.providerID); err != nil {
		r.fail(err, channels.IsPermanent(err))
		return
	}
	r.status = messageSent
}

// fail notes an error, and whether the message is tried again.
func (r *result) fail(err error, permanent bool) {
	r.problem = channels.Storable(err.Error())
	wait, again := rules.RetryAfter(int(r.message.Attempt))
	if permanent || !again {
		r.status = messageFailed
		return
	}
	r.status, r.wait = messageQueued, wait
}

// compose writes a message. It fails if its link cannot be made any more, or the address is none any more.
func (s *Service) compose(m *claimed) (channels.Message, error) {
	key, err := s.keyOf(m.LinkKey)
	if err != nil {
		return channels.Message{}, err
	}
	if !m.reachable {
		return channels.Message{}, errNoAddress
	}
	link := rules.SurveyLink(s.PublicURL, rules.NewLinkToken(key, m.Survey))
	hospital, sms, subject := rules.In(m.Language, m.HospitalName, m.HospitalNameAr), m.SmsText, m.EmailSubject
	if m.Language == rules.Arabic { // without one in Arabic, the program's own is rather that than the hospital's in English
		sms, subject = m.SmsTextAr, m.EmailSubjectAr
	}
	message := channels.Message{ID: m.ID, To: m.address, Language: m.Language, Text: rules.SMSText(m.Language, sms, hospital, link)}
	if m.Channel == channels.Email {
		message.Subject, message.Sender = rules.EmailSubject(m.Language, subject, hospital), hospital
		message.Unsubscribe = rules.UnsubscribeLink(link)
		message.Text = rules.EmailText(m.Language, hospital, link)
	}
	return message, nil
}

// finish writes what became of a message, and what follows from it for its survey. While the database is away it tries
// until others may send the message.
func (s *Service) finish(ctx context.Context, until time.Time, r result) error {
	ctx, cancel := context.WithDeadline(ctx, until)
	defer cancel()
	wait := queries.Backoff()
	for {
		err := s.database.InTx(ctx, func(q *db.Queries) error { return s.finishIn(ctx, q, r) })
		if err == nil || ctx.Err() != nil {
			return err
		}
		s.Log.WarnContext(ctx, "could not write what became of a message, trying again", "message", r.message.ID, "error", err)
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait.NextBackOff()):
		}
	}
}

func (s *Service) finishIn(ctx context.Context, q *db.Queries, r result) error {
	survey := r.message.Survey
	if _, err := q.SurveyLock(ctx, survey); err != nil {
		if queries.NoRows(err) { // deleted, and its messages with it
			return nil
		}
		return err
	}
	now, err := q.Now(ctx)
	if err != nil {
		return err
	}
	written, err := q.SurveyMessageFinish(ctx, db.SurveyMessageFinishParams{
		ID: r.message.ID, Attempt: r.message.Attempt, Status: r.status, NextAt: s.nextAttempt(now, r), Address: r.message.address,
		ProviderID: r.providerID, Error: r.problem, Made: r.made,
	})
	if err != nil || written == 0 { // another attempt has begun, and speaks for the message
		return err
	}
	isFirst := r.message.Kind == rules.KindInvitation
	switch r.status {
	case messageSent:
		return q.SurveyMarkSent(ctx, survey)
	case messageCancelled:
		if isFirst { // of a survey that is at an end already, that changes nothing
			return q.SurveyEndUnsent(ctx, db.SurveyEndUnsentParams{ID: survey, Status: rules.SurveySkipped, Reason: rules.RulePatientOptedOut})
		}
	case messageFailed:
		if channel := s.nextChannel(r.message); channel != "" && !r.hopeless {
			var next db.SurveyMessageInsertParams
			addMessage(&next, survey, r.message.Kind, channel)
			return q.SurveyMessageInsert(ctx, next)
		}
		if isFirst {
			return q.SurveyEndUnsent(ctx, db.SurveyEndUnsentParams{ID: survey, Status: rules.SurveyFailed, Reason: rules.ReasonUndeliverable})
		}
	}
	return nil
}

// nextAttempt is when a message that was not sent is tried again, outside of quiet hours.
func (s *Service) nextAttempt(now time.Time, r result) time.Time {
	m := r.message
	return s.quietHours(m.Hospital, m.QuietHoursStart, m.QuietHoursEnd, m.Timezone).After(now.Add(r.wait))
}

// nextChannel is the hospital's next channel after a message's on which the patient has an address; blank for none.
func (s *Service) nextChannel(m *claimed) string {
	i := slices.Index(m.Channels, m.Channel)
	for _, name := range m.Channels[i+1:] {
		if _, ok := s.address(name, m.Phone, m.Email); ok {
			return name
		}
	}
	return ""
}
