package server

import (
	"context"
	"fmt"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/queries/rules"
	"github.com/px360/px360/server/problem"
)

// publicSurveyOperations are for a patient's app: the token of the link is all that it needs.
type publicSurveyOperations struct{ surveys patientSurveys }

// RetrievePublicSurvey answers what the survey of a link asks.
func (o publicSurveyOperations) RetrievePublicSurvey(ctx context.Context, token string) (answer api.PublicSurvey, err error) {
	s, err := o.surveys.read(ctx, token)
	switch {
	case err != nil:
		return answer, err
	case !s.open() && !s.completed():
		return answer, problem.NotFound
	}
	return publicSurvey(s), nil
}

// AnswerPublicSurvey stores answers, and completes the survey if that is asked for.
func (o publicSurveyOperations) AnswerPublicSurvey(ctx context.Context, token string, body api.PublicSurveyUpdate) (answer api.PublicSurvey, err error) {
	set := answerSet{language: value(body.Language), answers: map[questionKey][]string{}, complete: body.Complete, optOut: body.OptOut}
	for _, a := range body.Answers {
		set.answers[questionKey{a.Section, a.Question}] = a.Answer
	}
	s, errs, err := o.surveys.answer(ctx, token, set, true)
	switch {
	case err != nil:
		return answer, err
	case len(errs) > 0:
		return answer, answerProblem(body, errs)
	case !s.open() && !s.completed() && !body.OptOut:
		return answer, problem.NotFound
	}
	return publicSurvey(s), nil
}

// answerProblem tells errors by the answers of the body, as DRF does of a list; those about questions without an answer
// in it by what makes them required.
func answerProblem(body api.PublicSurveyUpdate, errs answerErrors) error {
	fields := problem.Fields{}
	nested, wrong := make([]problem.Fields, len(body.Answers)), false
	for i, a := range body.Answers {
		nested[i] = problem.Fields{}
		key := questionKey{a.Section, a.Question}
		if message, found := errs[key]; found {
			nested[i].Add("answer", message)
			wrong = true
		}
		delete(errs, key)
	}
	if wrong {
		fields["answers"] = nested
	}
	if len(errs) > 0 {
		fields.Add("complete", fmt.Sprintf("%d questions that are required have no answer.", len(errs)))
	}
	return problem.Invalid(fields)
}

// publicSurvey is a survey as its patient sees it. A completed one never shows what was answered.
func publicSurvey(s patientSurvey) api.PublicSurvey {
	answer := api.PublicSurvey{
		HospitalName: s.HospitalName, HospitalNameAr: s.HospitalNameAr, Language: s.language(""), Status: "closed", Sections: []api.PublicSurveySection{},
	}
	switch {
	case s.completed():
		answer.Status = "completed"
		return answer
	case !s.open():
		return answer
	}
	answer.Status = "open"
	for _, part := range s.sections {
		shown := api.PublicSurveySection{Name: part.name, NameAr: part.nameAr, Questions: []api.PublicSurveyQuestion{}}
		for _, r := range part.responses {
			q := r.Question
			shown.Questions = append(shown.Questions, api.PublicSurveyQuestion{
				ID: q.ID, Text: q.Text, TextAr: q.TextAr, QuestionType: q.Type, IsRequired: q.IsRequired, MaxChoices: int32(q.MaxChoices),
				Choices: each(q.Choices, func(c rules.Choice) api.SurveyChoice {
					return api.SurveyChoice{Value: c.Value, Label: c.Label, LabelAr: c.LabelAr}
				}),
				Answer: append([]string{}, r.Values...),
			})
		}
		answer.Sections = append(answer.Sections, shown)
	}
	return answer
}

// language is the one to show a survey in: the wanted one if there is one, or else the patient's.
func (s patientSurvey) language(wanted string) string {
	for _, language := range []string{wanted, s.Language, s.HospitalLanguage} {
		if language == rules.English || language == rules.Arabic {
			return language
		}
	}
	return rules.Arabic
}
