// Package sla is between the rows of actions and the rules of their deadlines, for the server, which changes actions, and
// for the worker, which watches them.
package sla

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/queries/rules"
)

// An Action is a row, as it is locked, changed and written back.
type Action = db.ActionInsertParams

// What partners hear of: types of WebhookEventInsert.
const (
	EventActionCreated = "action.created"
	EventActionUpdated = "action.updated"
	EventBreached      = "sla.breached"
)

// Settings are what a hospital promises about its actions, and how it is called.
type Settings struct {
	rules.SLA
	Hospital string
	Language string
}

// Load reads the settings of a hospital.
func Load(ctx context.Context, q *db.Queries, hospital uuid.UUID) (s Settings, err error) {
	row, err := q.ActionSLA(ctx, hospital)
	if err != nil {
		return s, err
	}
	s = Settings{rules.SLA{Timezone: row.Timezone, Holidays: row.Holidays}, row.Name, row.Language}
	if err := json.Unmarshal(row.BusinessHours, &s.BusinessHours); err != nil {
		return s, err
	}
	return s, json.Unmarshal(row.ActionSLA, &s.Targets)
}

// Start starts the clock of an action, for the first time or anew, by the settings that its hospital has now.
func Start(ctx context.Context, q *db.Queries, a *Action, now time.Time) error {
	settings, err := Load(ctx, q, a.Hospital)
	if err != nil {
		return err
	}
	t := rules.ActionTiming{Status: a.Status, Priority: a.Priority}
	if err := t.Start(settings.SLA, now); err != nil {
		return err
	}
	if a.SLA, err = json.Marshal(settings.SLA); err != nil {
		return err
	}
	store(t, a)
	return nil
}

// Change changes how an action stands in time.
func Change(a *Action, f func(*rules.ActionTiming)) error {
	var promised rules.SLA
	if err := json.Unmarshal(a.SLA, &promised); err != nil {
		return err
	}
	clock, err := rules.RestoreClock(promised, a.RunningSince, time.Duration(a.UsedCalendar)*time.Microsecond, time.Duration(a.UsedBusiness)*time.Microsecond)
	if err != nil {
		return err
	}
	t := rules.ActionTiming{
		Status: a.Status, Priority: a.Priority, Clock: clock, DueAt: a.DueAt, RemindedAt: a.RemindedAt, BreachedAt: a.BreachedAt,
		EscalationLevel: int(a.EscalationLevel), NextAt: a.NextAt,
	}
	f(&t)
	store(t, a)
	return nil
}

func store(t rules.ActionTiming, a *Action) {
	a.Status, a.Priority, a.EscalationLevel = t.Status, t.Priority, int32(t.EscalationLevel)
	a.RunningSince, a.UsedCalendar, a.UsedBusiness = t.Clock.RunningSince, t.Clock.UsedCalendar.Microseconds(), t.Clock.UsedBusiness.Microseconds()
	a.DueAt, a.RemindedAt, a.BreachedAt, a.NextAt = t.DueAt, t.RemindedAt, t.BreachedAt, t.NextAt
}

// A Log is an entry of an action's log.
type Log struct {
	Kind, Old, New, Note string
	Actor                *uuid.UUID // nil: PX360 itself
	ActorName            string
}

// Updated writes an action that has changed, with its log and what partners hear of it.
func Updated(ctx context.Context, q *db.Queries, a *Action, events []string, entries ...Log) error {
	a.Version++
	if err := q.ActionUpdate(ctx, db.ActionUpdateParams(*a)); err != nil {
		return err
	}
	return tell(ctx, q, a, events, entries)
}

// Created tells of an action that was inserted.
func Created(ctx context.Context, q *db.Queries, a *Action, entry Log) error {
	return tell(ctx, q, a, []string{EventActionCreated}, []Log{entry})
}

func tell(ctx context.Context, q *db.Queries, a *Action, events []string, entries []Log) error {
	for _, entry := range entries {
		err := q.ActionLogInsert(ctx, db.ActionLogInsertParams{
			ID: uuid.Must(uuid.NewV7()), Action: a.ID, Kind: entry.Kind, ActorID: entry.Actor, ActorName: entry.ActorName, OldValue: entry.Old, NewValue: entry.New, Note: entry.Note,
		})
		if err != nil {
			return err
		}
	}
	for _, event := range events {
		err := q.WebhookEventInsert(ctx, db.WebhookEventInsertParams{Hospital: a.Hospital, EventType: event, Object: a.ID, Version: a.Version})
		if err != nil {
			return err
		}
	}
	return nil
}

// The roles that an action is escalated to.
const (
	roleHospitalAdmin = "Hospital Admin"
	rolePXAdmin       = "PX Admin"
)

// Escalated queues the emails to those of a level: at 1 the department's manager, at 2 the Hospital Admins, at 3 the PX
// Admins. Where there is no manager to write to, the Hospital Admins hear of it at once.
func Escalated(ctx context.Context, q *db.Queries, a *Action, level int, publicURL string) error {
	var to []db.UserMessageRecipientsRow
	var err error
	if level <= 1 && a.Department != nil {
		if to, err = manager(ctx, q, *a.Department); err != nil {
			return err
		}
	}
	switch {
	case level == rules.MaxEscalationLevel:
		to, err = Admins(ctx, q, nil)
	case len(to) == 0:
		to, err = Admins(ctx, q, &a.Hospital)
	}
	if err != nil {
		return err
	}
	return write(ctx, q, a, "escalation", level, to, publicURL)
}

// Reminded queues the email to whoever works on an action or, if nobody does, to those of the first level.
func Reminded(ctx context.Context, q *db.Queries, a *Action, publicURL string) error {
	var to []db.UserMessageRecipientsRow
	var err error
	if a.AssignedTo != nil {
		to, err = q.UserMessageRecipients(ctx, db.UserMessageRecipientsParams{ID: a.AssignedTo})
	}
	if err == nil && len(to) == 0 && a.Department != nil {
		to, err = manager(ctx, q, *a.Department)
	}
	if err == nil && len(to) == 0 {
		to, err = Admins(ctx, q, &a.Hospital)
	}
	if err != nil {
		return err
	}
	return write(ctx, q, a, "reminder", 0, to, publicURL)
}

func manager(ctx context.Context, q *db.Queries, department uuid.UUID) ([]db.UserMessageRecipientsRow, error) {
	id, err := q.ActionManager(ctx, department)
	if queries.NoRows(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return q.UserMessageRecipients(ctx, db.UserMessageRecipientsParams{ID: &id})
}

// Admins are those of a hospital or, with nil, the PX Admins: who can be written to of them.
func Admins(ctx context.Context, q *db.Queries, hospital *uuid.UUID) ([]db.UserMessageRecipientsRow, error) {
	role := roleHospitalAdmin
	if hospital == nil {
		role = rolePXAdmin
	}
	return q.UserMessageRecipients(ctx, db.UserMessageRecipientsParams{Role: &role, Hospital: hospital})
}

// write queues an email about an action, in the language of each user.
func write(ctx context.Context, q *db.Queries, a *Action, kind string, level int, to []db.UserMessageRecipientsRow, publicURL string) error {
	settings, err := Load(ctx, q, a.Hospital)
	if err != nil {
		return err
	}
	facts := rules.ActionFacts{Title: a.Title, Hospital: settings.Hospital, Zone: settings.Timezone, URL: fmt.Sprintf("%s/api/actions/%s/", publicURL, a.ID)}
	if a.DueAt != nil {
		facts.DueAt = *a.DueAt
	}
	return Send(ctx, q, &a.Hospital, kind, a.ID, to, func(language string) (string, string) { return rules.ActionEmail(language, level, facts) })
}

// Send queues an email to users, in the language of each.
func Send(
	ctx context.Context, q *db.Queries, hospital *uuid.UUID, kind string, object uuid.UUID, to []db.UserMessageRecipientsRow,
	compose func(language string) (subject, text string),
) error {
	byLanguage := map[string][]uuid.UUID{}
	for _, user := range to {
		byLanguage[user.Language] = append(byLanguage[user.Language], user.ID)
	}
	for language, users := range byLanguage {
		subject, text := compose(language)
		err := q.UserMessageInsert(ctx, db.UserMessageInsertParams{Hospital: hospital, Kind: kind, Object: object, Subject: subject, Body: text, Users: users})
		if err != nil {
			return err
		}
	}
	return nil
}
