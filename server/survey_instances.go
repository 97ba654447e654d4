package server

import (
	"context"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/queries/rules"
	"github.com/px360/px360/server/auth"
	"github.com/px360/px360/server/problem"
)

// surveyOperations are the changes that users make to surveys. What follows from them is the worker's.
type surveyOperations struct {
	engine  *engine
	surveys *reader[api.SurveyInstanceDetail]
}

// surveyInstances answer the reads of surveys. What single patients answered is only for those with the rule.
type surveyInstances struct {
	list[api.ListSurveyInstancesParams, api.SurveyInstanceList]
	*reader[api.SurveyInstanceDetail]
	detail    mapping[api.SurveyInstanceDetail, db.SurveyInstanceGetRow]
	responses auth.Rule
}

func newSurveyInstances(e *engine, responses auth.Rule) surveyInstances {
	s := surveyInstances{
		list: newList[api.ListSurveyInstancesParams](e, (*db.Queries).SurveyInstanceList,
			func(row db.SurveyInstanceListRow) api.SurveyInstance { return api.SurveyInstance(row) },
			func(p page[api.SurveyInstance]) api.SurveyInstanceList { return api.SurveyInstanceList(p) }, "Scope"),
		detail: newMapping[api.SurveyInstanceDetail, db.SurveyInstanceGetRow](e), responses: responses,
	}
	s.reader = &reader[api.SurveyInstanceDetail]{e, s.get}
	return s
}

// List is the list's, but for scores that the caller may not see.
func (s surveyInstances) List(ctx context.Context, params api.ListSurveyInstancesParams) (api.SurveyInstanceList, error) {
	visible := requestOf(ctx).principal.May(s.responses)
	if params.IsNegative != nil && !visible {
		return api.SurveyInstanceList{}, problem.Forbidden
	}
	answer, err := s.list.List(ctx, params)
	for i := range answer.Results {
		if !visible {
			answer.Results[i].TotalScore, answer.Results[i].IsNegative = nil, nil
		}
	}
	return answer, err
}

func (s surveyInstances) get(q *db.Queries, ctx context.Context, row rowID) (detail api.SurveyInstanceDetail, err error) {
	found, err := q.SurveyInstanceGet(ctx, db.SurveyInstanceGetParams(row))
	if err != nil {
		return detail, err
	}
	detail = s.detail.convert(found)
	messages, err := q.SurveyInstanceMessages(ctx, row.ID)
	if err != nil {
		return detail, err
	}
	detail.Messages = each(messages, func(m db.SurveyInstanceMessagesRow) api.SurveyMessage { return api.SurveyMessage(m) })
	if !requestOf(ctx).principal.May(s.responses) {
		detail.TotalScore, detail.IsNegative = nil, nil
		return detail, nil
	}
	sections, err := loadSections(ctx, q, row.ID)
	responses := responsesOf(sections)
	detail.Answers = &responses
	return detail, err
}

// responsesOf are the questions that have an answer.
func responsesOf(sections []section) []api.SurveyResponse {
	responses := []api.SurveyResponse{}
	for _, s := range sections {
		for _, r := range s.responses {
			if len(r.Values) > 0 {
				responses = append(responses, api.SurveyResponse{
					Section: s.position, Question: r.Question.ID, QuestionType: r.Question.Type, Text: r.Question.Text, TextAr: r.Question.TextAr, Answer: r.Values,
				})
			}
		}
	}
	return responses
}

// SendSurveyInstance makes a survey due that waits for its delay.
func (o surveyOperations) SendSurveyInstance(ctx context.Context, id uuid.UUID) (api.SurveyInstanceDetail, error) {
	return o.change(ctx, id, "due_at", func(q *db.Queries, row db.SurveyInstanceLockRow) error {
		if row.AskedAt != nil {
			return problem.Conflict("The survey was sent already; resend repeats its link.")
		}
		return q.SurveySendNow(ctx, id)
	})
}

// ResendSurveyInstance has the link of a survey sent again.
func (o surveyOperations) ResendSurveyInstance(ctx context.Context, id uuid.UUID) (api.SurveyInstanceDetail, error) {
	return o.change(ctx, id, "resend", func(q *db.Queries, row db.SurveyInstanceLockRow) error {
		if row.SentAt == nil {
			return problem.Conflict("The survey was not sent yet.")
		}
		return q.SurveyResend(ctx, id)
	})
}

// CancelSurveyInstance ends a survey.
func (o surveyOperations) CancelSurveyInstance(ctx context.Context, id uuid.UUID) (api.SurveyInstanceDetail, error) {
	return o.change(ctx, id, "status", func(q *db.Queries, _ db.SurveyInstanceLockRow) error {
		if err := q.SurveyCancel(ctx, id); err != nil {
			return err
		}
		return q.SurveyMessageCancel(ctx, id)
	})
}

// change makes a change of one field to a survey that is not at an end.
func (o surveyOperations) change(ctx context.Context, id uuid.UUID, field string, f func(*db.Queries, db.SurveyInstanceLockRow) error) (answer api.SurveyInstanceDetail, err error) {
	err = o.engine.change(ctx, func(q *db.Queries) (auditEntry, error) {
		row, err := q.SurveyInstanceLock(ctx, db.SurveyInstanceLockParams{ID: id, Scope: requestOf(ctx).principal.Scope()})
		switch {
		case queries.NoRows(err):
			return auditEntry{}, problem.NotFound
		case err != nil:
			return auditEntry{}, err
		case rules.SurveyEnded(row.Status):
			return auditEntry{}, problem.Conflict("The survey is " + row.Status + ".")
		}
		if err := f(q, row); err != nil {
			return auditEntry{}, err
		}
		answer, err = o.surveys.one(ctx, q, id)
		return auditEntry{"survey_instance", id, &row.Hospital, []string{field}}, err
	})
	return answer, err
}
