package server

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/queries/rules"
	"github.com/px360/px360/queries/sla"
	"github.com/px360/px360/server/auth"
	"github.com/px360/px360/server/contract"
	"github.com/px360/px360/server/problem"
)

type actionRows = resource[api.Action, api.ActionCreate, api.ActionCreate, api.ActionUpdate, sla.Action]

// newActionRows makes what answers the operations on single actions.
func newActionRows(e *engine) *actionRows {
	rows := &actionRows{
		reader: reader[api.Action]{e, func(q *db.Queries, ctx context.Context, row rowID) (api.Action, error) {
			found, err := q.ActionGet(ctx, db.ActionGetParams(row))
			return api.Action(found), err
		}},
		noun: "action",
		lock: lockAction,
		insert: func(q *db.Queries, ctx context.Context, fields sla.Action) error {
			_, err := q.ActionInsert(ctx, fields)
			return err
		},
		update: func(*db.Queries, context.Context, sla.Action) error { return nil }, // by updateAction, with all that follows
		remove: (*db.Queries).ActionDelete,
		defaults: sla.Action{
			SourceType: rules.SourceManual, Priority: rules.PriorityMedium, Status: rules.ActionOpen, Version: 1,
		},
		id:       func(fields *sla.Action) *uuid.UUID { return &fields.ID },
		hospital: func(fields sla.Action) *uuid.UUID { return &fields.Hospital },
		hooks: hooks[sla.Action]{
			checkCreate: startAction, created: tellOfAction, checkUpdate: checkAction, updated: updateAction, checkDelete: keepAction,
		},
	}
	return rows.bind(e)
}

// newActionResource answers the plain reads and writes.
func newActionResource(e *engine, rows *actionRows) api.ActionResource {
	return struct {
		list[api.ListActionsParams, api.ActionList]
		*actionRows
	}{
		newList[api.ListActionsParams](e, (*db.Queries).ActionList,
			func(row db.ActionListRow) api.Action { return api.Action(row) },
			func(p page[api.Action]) api.ActionList { return api.ActionList(p) }, "Scope", "Self"),
		rows,
	}
}

func lockAction(q *db.Queries, ctx context.Context, row rowID) (sla.Action, error) {
	found, err := q.ActionLock(ctx, db.ActionLockParams(row))
	return sla.Action(found), err
}

// checkMisplaced refuses references to what is of another hospital than the action.
func checkMisplaced(ctx context.Context, q *db.Queries, a sla.Action) error {
	misplaced, err := q.ActionMisplaced(ctx, db.ActionMisplacedParams{
		Hospital: a.Hospital, StageInstance: a.StageInstance, SurveyInstance: a.SurveyInstance, AssignedTo: a.AssignedTo, Patient: a.Patient,
	})
	if err != nil || len(misplaced) == 0 {
		return err
	}
	fields := problem.Fields{}
	for _, field := range misplaced {
		fields.Add(field, queries.MessageMisplaced)
	}
	return problem.Invalid(fields)
}

func startAction(ctx context.Context, q *db.Queries, w *write[sla.Action]) error {
	if err := checkMisplaced(ctx, q, w.row); err != nil {
		return err
	}
	now, err := q.Now(ctx)
	if err != nil {
		return err
	}
	return sla.Start(ctx, q, &w.row, now)
}

func tellOfAction(ctx context.Context, q *db.Queries, w *write[sla.Action]) error {
	return sla.Created(ctx, q, &w.row, logOf(w.principal, sla.Log{Kind: "created", New: w.row.Status}))
}

// logOf is an entry by a user.
func logOf(p auth.Principal, entry sla.Log) sla.Log {
	entry.Actor, entry.ActorName = &p.UserID, p.Username
	return entry
}

// checkAction refuses changes of what is fixed, and of actions that are over and done with.
func checkAction(ctx context.Context, q *db.Queries, w *write[sla.Action]) error {
	fields := problem.Fields{}
	for field, changed := range map[string]bool{"hospital": w.row.Hospital != w.old.Hospital, "source_type": w.row.SourceType != w.old.SourceType} {
		if changed {
			fields.Add(field, contract.MessageFixed)
		}
	}
	// The survey that opened an action stays its reason.
	if w.old.SourceType == rules.SourceSurvey && slices.Contains(w.changed, "survey_instance") {
		fields.Add("survey_instance", contract.MessageFixed)
	}
	switch {
	case len(fields) > 0:
		return problem.Invalid(fields)
	case w.old.Status == rules.ActionClosed || w.old.Status == rules.ActionCancelled:
		return problem.Conflict("The action is " + w.old.Status + ".")
	case w.old.Status == rules.ActionPendingApproval && w.row.Resolution == "":
		return problem.InvalidField("resolution", messageNoResolution)
	}
	if err := checkMisplaced(ctx, q, w.row); err != nil || w.row.Priority == w.old.Priority {
		return err
	}
	now, err := q.Now(ctx)
	if err != nil {
		return err
	}
	return sla.Change(&w.row, func(t *rules.ActionTiming) { t.ChangePriority(w.row.Priority, now) })
}

const messageNoResolution = "State how it was solved."

// updateAction writes a changed action; one that is as it was stays so.
func updateAction(ctx context.Context, q *db.Queries, w *write[sla.Action]) error {
	if len(w.changed) == 0 {
		return nil
	}
	return sla.Updated(ctx, q, &w.row, []string{sla.EventActionUpdated}, logOf(w.principal, sla.Log{Kind: "updated", New: strings.Join(w.changed, ", ")}))
}

// keepAction refuses to delete what is part of the record.
func keepAction(_ context.Context, _ *db.Queries, _ auth.Principal, old sla.Action) error {
	if old.SourceType != rules.SourceManual || old.Status != rules.ActionOpen {
		return problem.Conflict("Only manual actions that are still open can be deleted.")
	}
	return nil
}

// actionOperations are the steps of an action.
type actionOperations struct {
	engine         *engine
	rows           *actionRows
	write, approve auth.Rule
}

func newActionOperations(e *engine, rows *actionRows, policy auth.Policy) (o actionOperations, err error) {
	o = actionOperations{engine: e, rows: rows}
	for permission, rule := range map[string]*auth.Rule{auth.ActionsWrite: &o.write, auth.ActionsApprove: &o.approve} {
		found := false
		if *rule, found = policy.Rule(permission); !found {
			return o, fmt.Errorf("no rule says who has the permission %s", permission)
		}
	}
	return o, nil
}

// change makes a change to an action under its lock, and writes it with its log.
func (o actionOperations) change(ctx context.Context, id uuid.UUID, fields []string, f func(*db.Queries, *sla.Action) (sla.Log, error)) (answer api.Action, err error) {
	p := requestOf(ctx).principal
	err = o.engine.change(ctx, func(q *db.Queries) (auditEntry, error) {
		a, err := o.rows.locked(ctx, q, id)
		if err != nil {
			return auditEntry{}, err
		}
		entry, err := f(q, &a)
		if err != nil {
			return auditEntry{}, err
		}
		if err := sla.Updated(ctx, q, &a, []string{sla.EventActionUpdated}, logOf(p, entry)); err != nil {
			return auditEntry{}, err
		}
		answer, err = o.rows.one(ctx, q, id)
		return auditEntry{"action", id, &a.Hospital, fields}, err
	})
	return answer, err
}

// AssignAction makes a user, or nobody, the one who works on an action.
func (o actionOperations) AssignAction(ctx context.Context, id uuid.UUID, body api.ActionAssignment) (api.Action, error) {
	return o.change(ctx, id, []string{"assigned_to"}, func(q *db.Queries, a *sla.Action) (sla.Log, error) {
		if err := checkBody(ctx, q); err != nil {
			return sla.Log{}, err
		}
		if rules.ActionEnded(a.Status) {
			return sla.Log{}, problem.Conflict("The action is " + a.Status + ".")
		}
		entry := sla.Log{Kind: "assigned", Old: text(a.AssignedTo), New: text(body.AssignedTo)}
		a.AssignedTo = body.AssignedTo
		return entry, checkMisplaced(ctx, q, *a)
	})
}

func text(id *uuid.UUID) string {
	if id == nil {
		return ""
	}
	return id.String()
}

// ChangeActionStatus takes an action a step on.
func (o actionOperations) ChangeActionStatus(ctx context.Context, id uuid.UUID, body api.ActionStatusChange) (api.Action, error) {
	return o.change(ctx, id, []string{"status"}, func(q *db.Queries, a *sla.Action) (sla.Log, error) {
		p := requestOf(ctx).principal
		switch {
		case rules.ActionNeedsApproval(a.Status, body.Status) && !p.May(o.approve):
			return sla.Log{}, problem.Forbidden
		case !o.mayWork(p, a), body.Status == rules.ActionCancelled && !p.May(o.write):
			return sla.Log{}, problem.Forbidden
		}
		if body.Resolution != nil {
			a.Resolution = *body.Resolution
		}
		return o.step(ctx, q, a, body.Status, value(body.Note))
	})
}

// ApproveAction accepts the resolution of an action.
func (o actionOperations) ApproveAction(ctx context.Context, id uuid.UUID) (api.Action, error) {
	return o.change(ctx, id, []string{"status"}, func(q *db.Queries, a *sla.Action) (sla.Log, error) {
		return o.step(ctx, q, a, rules.ActionApproved, "")
	})
}

// mayWork tells whether somebody may work on an action: those who may write any, and whom it is assigned to.
func (o actionOperations) mayWork(p auth.Principal, a *sla.Action) bool {
	return p.May(o.write) || a.AssignedTo != nil && *a.AssignedTo == p.UserID
}

// step changes the status of an action, and what its clock does by it.
func (o actionOperations) step(ctx context.Context, q *db.Queries, a *sla.Action, to, note string) (entry sla.Log, err error) {
	entry = sla.Log{Kind: "status_changed", Old: a.Status, New: to, Note: note}
	switch {
	case !rules.ActionMayBecome(a.Status, to):
		return entry, problem.Conflict(fmt.Sprintf("An action cannot go from %s to %s.", a.Status, to))
	case to == rules.ActionPendingApproval && a.Resolution == "":
		return entry, problem.InvalidField("resolution", messageNoResolution)
	}
	now, err := q.Now(ctx)
	if err != nil {
		return entry, err
	}
	if rules.ActionReopens(a.Status, to) {
		a.Status = to
		return entry, sla.Start(ctx, q, a, now)
	}
	return entry, sla.Change(a, func(t *rules.ActionTiming) { t.ChangeStatus(to, now) })
}

// EscalateAction takes an action to the next level at once.
func (o actionOperations) EscalateAction(ctx context.Context, id uuid.UUID, body api.ActionNoteCreate) (api.Action, error) {
	return o.change(ctx, id, []string{"escalation_level"}, func(q *db.Queries, a *sla.Action) (sla.Log, error) {
		level := int(a.EscalationLevel) + 1
		switch {
		case rules.ActionEnded(a.Status):
			return sla.Log{}, problem.Conflict("The action is " + a.Status + ".")
		case level > rules.MaxEscalationLevel:
			return sla.Log{}, problem.Conflict("The action is at the highest level.")
		}
		now, err := q.Now(ctx)
		if err != nil {
			return sla.Log{}, err
		}
		if err := sla.Change(a, func(t *rules.ActionTiming) { t.Escalate(level, now) }); err != nil {
			return sla.Log{}, err
		}
		entry := sla.Log{Kind: "escalated", Old: fmt.Sprint(level - 1), New: fmt.Sprint(level), Note: body.Note}
		return entry, sla.Escalated(ctx, q, a, level, o.engine.publicURL)
	})
}

// AddActionNote writes a note into the log of an action, which stays as it is.
func (o actionOperations) AddActionNote(ctx context.Context, id uuid.UUID, body api.ActionNoteCreate) (answer api.ActionLogEntry, err error) {
	p := requestOf(ctx).principal
	err = o.engine.change(ctx, func(q *db.Queries) (auditEntry, error) {
		a, err := o.rows.locked(ctx, q, id)
		switch {
		case err != nil:
			return auditEntry{}, err
		case !o.mayWork(p, &a):
			return auditEntry{}, problem.Forbidden
		}
		row, err := q.ActionLogNote(ctx, db.ActionLogNoteParams{ID: newID(), Action: id, Actor: &p.UserID, ActorName: p.Username, Note: body.Note})
		answer = api.ActionLogEntry(row)
		return auditEntry{"action", id, &a.Hospital, []string{"note"}}, err
	})
	return answer, err
}

// ListActionLog answers a page of what happened to an action.
func (o actionOperations) ListActionLog(ctx context.Context, id uuid.UUID, _ api.ListActionLogParams) (api.ActionLogEntryList, error) {
	scope := requestOf(ctx).principal.Scope()
	err := o.engine.db.Read(ctx, func(q *db.Queries) error {
		_, err := q.ActionGet(ctx, db.ActionGetParams{ID: id, Scope: scope})
		return err
	})
	if queries.NoRows(err) {
		err = problem.NotFound
	}
	if err != nil {
		return api.ActionLogEntryList{}, err
	}
	rows, err := pageOf(ctx, o.engine,
		func(ctx context.Context, q *db.Queries) ([]db.ActionLogListRow, error) {
			return q.ActionLogList(ctx, db.ActionLogListParams{Action: id, Scope: scope})
		},
		func(row db.ActionLogListRow) api.ActionLogEntry { return api.ActionLogEntry(row) })
	return api.ActionLogEntryList(rows), err
}

// openSurveyAction opens the action that the answers of a completed survey call for; a survey opens one at most.
func openSurveyAction(ctx context.Context, q *db.Queries, survey uuid.UUID, negative, called bool) error {
	priority, opens := rules.SurveyPriority(negative, called)
	if !opens {
		return nil
	}
	about, err := q.ActionOfSurvey(ctx, survey)
	if err != nil {
		return err
	}
	now, err := q.Now(ctx)
	if err != nil {
		return err
	}
	a := sla.Action{
		ID: newID(), Hospital: about.Hospital, Department: about.Department, AssignedTo: about.Manager, JourneyInstance: &about.JourneyInstance,
		StageInstance: about.StageInstance, SurveyInstance: &survey, Physician: about.Physician, Patient: &about.Patient,
		SourceType: rules.SourceSurvey, Priority: priority, Status: rules.ActionOpen, Version: 1,
	}
	a.Title, a.Description = rules.ActionTexts(about.Language, about.StageName, about.StageNameAr, about.SurveyName, about.SurveyNameAr)
	if err := sla.Start(ctx, q, &a, now); err != nil {
		return err
	}
	if opened, err := q.ActionInsert(ctx, a); err != nil || opened == 0 {
		return err
	}
	return sla.Created(ctx, q, &a, sla.Log{Kind: "created", New: a.Status})
}
