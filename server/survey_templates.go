package server

import (
	"context"
	"encoding/json"
	"reflect"
	"slices"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries/rules"
	"github.com/px360/px360/server/problem"
)

type surveyTemplateRows = resource[api.SurveyTemplate, api.SurveyTemplateCreate, api.SurveyTemplateCreate, api.SurveyTemplateUpdate, db.SurveyTemplateInsertParams]

func newSurveyTemplates(e *engine) api.SurveyTemplateResource {
	checks := surveyTemplateChecks{link: rules.SurveyLink(e.publicURL, rules.NewLinkToken(nil, uuid.Nil))}
	rows := &surveyTemplateRows{
		reader: reader[api.SurveyTemplate]{e, func(q *db.Queries, ctx context.Context, row rowID) (api.SurveyTemplate, error) {
			found, err := q.SurveyTemplateGet(ctx, db.SurveyTemplateGetParams(row))
			return api.SurveyTemplate(found), err
		}},
		noun: "survey_template",
		lock: func(q *db.Queries, ctx context.Context, row rowID) (db.SurveyTemplateInsertParams, error) {
			found, err := q.SurveyTemplateLock(ctx, db.SurveyTemplateLockParams(row))
			return db.SurveyTemplateInsertParams(found), err
		},
		insert: (*db.Queries).SurveyTemplateInsert,
		update: func(q *db.Queries, ctx context.Context, fields db.SurveyTemplateInsertParams) error {
			return q.SurveyTemplateUpdate(ctx, db.SurveyTemplateUpdateParams(fields))
		},
		remove: (*db.Queries).SurveyTemplateDelete,
		defaults: db.SurveyTemplateInsertParams{
			IsActive: true, SurveyType: "stage", ScoringMethod: rules.ScoringAverage, ReminderHours: []int32{72}, ExpiresAfterDays: 14,
			Version: 1, Questions: json.RawMessage("[]"),
		},
		id:       func(fields *db.SurveyTemplateInsertParams) *uuid.UUID { return &fields.ID },
		hospital: func(fields db.SurveyTemplateInsertParams) *uuid.UUID { return &fields.Hospital },
		hooks:    hooks[db.SurveyTemplateInsertParams]{checkCreate: checks.check, checkUpdate: checks.check},
	}
	return struct {
		list[api.ListSurveyTemplatesParams, api.SurveyTemplateList]
		*surveyTemplateRows
	}{
		newList[api.ListSurveyTemplatesParams](e, (*db.Queries).SurveyTemplateList,
			func(row db.SurveyTemplateListRow) api.SurveyTemplate { return api.SurveyTemplate(row) },
			func(p page[api.SurveyTemplate]) api.SurveyTemplateList { return api.SurveyTemplateList(p) }, "Scope"),
		rows.bind(e),
	}
}

// surveyTemplateChecks refuse what no schema can tell.
type surveyTemplateChecks struct{ link string } // as long as every link

func (c surveyTemplateChecks) check(ctx context.Context, q *db.Queries, w *write[db.SurveyTemplateInsertParams]) error {
	if w.row.NegativeThreshold == "" || w.row.ScoringMethod != w.old.ScoringMethod && !w.states("negative_threshold") {
		w.row.NegativeThreshold = "3.00"
		if w.row.ScoringMethod == rules.ScoringNPS {
			w.row.NegativeThreshold = "7.00"
		}
	}
	fields := problem.Fields{}
	if err := c.checkTexts(ctx, q, w.row, fields); err != nil {
		return err
	}
	if hours := w.row.ReminderHours; !slices.IsSorted(hours) || len(slices.Compact(slices.Clone(hours))) < len(hours) {
		fields.Add("reminder_hours", "Give them in ascending order.")
	}
	if err := writeQuestions(w, fields); err != nil {
		return err
	}
	if len(fields) > 0 {
		return problem.Invalid(fields)
	}
	return nil
}

// checkTexts looks whether text messages fit, with the name of the hospital as it is now.
func (c surveyTemplateChecks) checkTexts(ctx context.Context, q *db.Queries, row db.SurveyTemplateInsertParams, fields problem.Fields) error {
	if row.SmsText == "" && row.SmsTextAr == "" {
		return nil
	}
	hospital, err := q.HospitalGet(ctx, db.HospitalGetParams{ID: row.Hospital})
	if err != nil {
		return err
	}
	for _, text := range []struct{ field, language, text, hospital string }{
		{"sms_text", rules.English, row.SmsText, hospital.Name},
		{"sms_text_ar", rules.Arabic, row.SmsTextAr, rules.In(rules.Arabic, hospital.Name, hospital.NameAr)},
	} {
		if message := rules.CheckSMSText(text.language, text.text, text.hospital, c.link); message != "" {
			fields.Add(text.field, message)
		}
	}
	return nil
}

// writeQuestions checks the questions that a body states. If they differ from those there are, they become the next
// version. A question without an id gets one.
func writeQuestions(w *write[db.SurveyTemplateInsertParams], fields problem.Fields) error {
	current := []rules.Question{}
	if w.old.ID != uuid.Nil {
		var err error
		if current, err = rules.ReadQuestions(w.old.Questions); err != nil {
			return err
		}
	}
	questions, err := rules.ReadQuestions(w.row.Questions)
	if err != nil {
		return err
	}
	if w.states("questions") {
		if errs := rules.CheckQuestions(questions, current); errs != nil {
			nested := make([]problem.Fields, len(errs))
			for i, messages := range errs {
				nested[i] = problem.Fields{}
				for field, list := range messages {
					nested[i].Add(field, list...)
				}
			}
			fields["questions"] = nested
		}
	}
	if w.row.ScoringMethod == rules.ScoringNPS && !rules.HaveOneNPS(questions) {
		fields.Add("scoring_method", "Scoring method nps needs exactly one nps question.")
	}
	w.changed = slices.DeleteFunc(w.changed, func(field string) bool { return field == "questions" })
	if w.old.ID != uuid.Nil && reflect.DeepEqual(questions, current) {
		w.row.Questions = w.old.Questions
		return nil
	}
	for i := range questions {
		if questions[i].ID == uuid.Nil {
			questions[i].ID = newID()
		}
	}
	w.changed = append(w.changed, "questions")
	w.row.Version = w.old.Version + 1
	w.row.Questions, err = json.Marshal(questions)
	return err
}
