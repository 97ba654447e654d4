package server

import (
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/queries/rules"
	"github.com/px360/px360/server/limits"
	"github.com/px360/px360/server/problem"
)

// patientSurveys is what patients do with the surveys that they have a link to: the same for the page and for apps.
type patientSurveys struct {
	engine *engine
	rates  *limits.RateLimiter
}

// A patientSurvey is a survey as the holder of its link sees it.
type patientSurvey struct {
	db.SurveyByTokenRow
	sections []section
}

// open tells whether the survey can be answered.
func (s patientSurvey) open() bool { return !s.Expired && !rules.SurveyEnded(s.Status) }

func (s patientSurvey) completed() bool { return s.Status == rules.SurveyCompleted }

// A section is a part of a survey, with what was answered so far.
type section struct {
	position     int32 // from 1
	name, nameAr string
	responses    []rules.Response
}

// missing tells whether a required question of the section has no answer.
func (s section) missing() bool {
	for _, r := range s.responses {
		if r.Question.IsRequired && len(r.Values) == 0 {
			return true
		}
	}
	return false
}

// A questionKey names a question of a survey: a template may be asked in several sections.
type questionKey struct {
	position int32
	question uuid.UUID
}

// An answerSet is what the holder of a link sends at a time.
type answerSet struct {
	language string // blank: unchanged
	answers  map[questionKey][]string
	complete bool
	optOut   bool
}

// answerErrors are messages about answers. What they are about is not stored; the rest is.
type answerErrors map[questionKey]string

const messageNoQuestion = "The section has no such question."

// loadSections reads what a survey asks, and what was answered so far. There are none before it is sent.
func loadSections(ctx context.Context, q *db.Queries, survey uuid.UUID) ([]section, error) {
	rows, err := q.SurveySections(ctx, survey)
	if err != nil {
		return nil, err
	}
	stored, err := q.SurveyResponses(ctx, survey)
	if err != nil {
		return nil, err
	}
	answers := map[questionKey][]string{}
	for _, row := range stored {
		var values []string
		if err := json.Unmarshal(row.Answer, &values); err != nil {
			return nil, err
		}
		answers[questionKey{row.Position, row.Question}] = values
	}
	var sections []section
	for _, row := range rows {
		questions, err := rules.ReadQuestions(row.Questions)
		if err != nil {
			return nil, err
		}
		s := section{position: row.Position, name: row.Name, nameAr: row.NameAr}
		if row.StageName != nil {
			s.name, s.nameAr = *row.StageName, value(row.StageNameAr)
		}
		for _, question := range questions {
			s.responses = append(s.responses, rules.Response{Question: question, Values: answers[questionKey{row.Position, question.ID}]})
		}
		sections = append(sections, s)
	}
	return sections, nil
}

// read shows the survey of a link, and notes that it was looked at.
func (a patientSurveys) read(ctx context.Context, token string) (s patientSurvey, err error) {
	hash, ok := rules.LinkTokenHash(token)
	if !ok {
		return s, a.miss(ctx)
	}
	err = a.engine.db.Read(ctx, func(q *db.Queries) error {
		if s.SurveyByTokenRow, err = q.SurveyByToken(ctx, hash); err != nil || !s.open() {
			return err
		}
		if s.sections, err = loadSections(ctx, q, s.ID); err != nil {
			return err
		}
		if s.Status == rules.SurveyPending || s.Status == rules.SurveySent {
			return q.SurveyMarkViewed(ctx, s.ID)
		}
		return nil
	})
	if queries.NoRows(err) {
		return s, a.miss(ctx)
	}
	return s, err
}

// answer stores what the holder of a link sends, in one transaction, and returns the survey as it is then. A survey that
// is at an end stays as it is. With strict any error refuses all of it; else what is right is stored. It is completed
// only without errors, and with all answers that are required.
func (a patientSurveys) answer(ctx context.Context, token string, set answerSet, strict bool) (s patientSurvey, errs answerErrors, err error) {
	hash, ok := rules.LinkTokenHash(token)
	if !ok {
		return s, nil, a.miss(ctx)
	}
	err = a.engine.db.InTx(ctx, func(q *db.Queries) error {
		s, errs = patientSurvey{}, answerErrors{}
		if _, err := q.SurveyLockByToken(ctx, hash); err != nil {
			return err
		}
		if s.SurveyByTokenRow, err = q.SurveyByToken(ctx, hash); err != nil {
			return err
		}
		if set.optOut {
			if err := q.SurveyOptOut(ctx, s.ID); err != nil {
				return err
			}
			if err := q.SurveyMessageCancel(ctx, s.ID); err != nil {
				return err
			}
		}
		if !s.open() {
			return nil
		}
		if s.sections, err = loadSections(ctx, q, s.ID); err != nil {
			return err
		}
		if set.language == "" && len(set.answers) == 0 && !set.complete {
			return nil
		}
		return a.store(ctx, q, &s, set, strict, errs)
	})
	if queries.NoRows(err) {
		return s, nil, a.miss(ctx)
	}
	return s, errs, err
}

// store writes answers to an open survey that the transaction has locked.
func (a patientSurveys) store(ctx context.Context, q *db.Queries, s *patientSurvey, set answerSet, strict bool, errs answerErrors) error {
	save := db.SurveySaveResponsesParams{Survey: s.ID}
	for key, values := range set.answers {
		response := s.response(key)
		if response == nil {
			errs[key] = messageNoQuestion
			continue
		}
		values = spoken(values)
		optional := response.Question
		optional.IsRequired = false
		if message := optional.CheckAnswer(values); message != "" {
			errs[key] = message
			continue
		}
		text, err := json.Marshal(values)
		if err != nil {
			return err
		}
		response.Values = values
		save.Positions, save.Questions, save.Answers = append(save.Positions, key.position), append(save.Questions, key.question), append(save.Answers, string(text))
	}
	if strict && len(errs) > 0 {
		return nil
	}
	if len(save.Positions) > 0 {
		if err := q.SurveySaveResponses(ctx, save); err != nil {
			return err
		}
	}
	if set.language != "" {
		s.Language = set.language
	}
	if err := q.SurveyStart(ctx, db.SurveyStartParams{ID: s.ID, Language: s.Language}); err != nil {
		return err
	}
	if s.Status = rules.SurveyInProgress; !set.complete || len(errs) > 0 {
		return nil
	}
	for _, part := range s.sections {
		for _, r := range part.responses {
			if message := r.Question.CheckAnswer(r.Values); message != "" {
				errs[questionKey{part.position, r.Question.ID}] = message
			}
		}
	}
	if len(errs) > 0 {
		return nil
	}
	return a.complete(ctx, q, s)
}

// complete ends a survey whose answers are all there: with its score, and what each section comes to. The
// action that they call for is opened in the same transaction, and so is partners' message.
func (a patientSurveys) complete(ctx context.Context, q *db.Queries, s *patientSurvey) error {
	var all []rules.Response
	score := db.SurveyScoreSectionsParams{Survey: s.ID}
	for _, part := range s.sections {
		all = append(all, part.responses...)
		sum := rules.Summarize(part.responses)
		score.Positions = append(score.Positions, part.position)
		score.Promoters, score.Passives, score.Detractors = append(score.Promoters, sum.Promoters), append(score.Passives, sum.Passives), append(score.Detractors, sum.Detractors)
		score.Rated, score.Satisfied = append(score.Rated, sum.Rated), append(score.Satisfied, sum.Satisfied)
		score.Scored, score.Top, score.Scores = append(score.Scored, sum.Scored), append(score.Top, sum.Top), append(score.Scores, sum.Score)
	}
	done := db.SurveyCompleteParams{ID: s.ID}
	if total, scored := rules.TotalScore(s.ScoringMethod, all); scored {
		threshold, err := strconv.ParseInt(strings.Replace(s.NegativeThreshold, ".", "", 1), 10, 64)
		if err != nil {
			return err
		}
		text, negative := decimal(total), total < threshold
		done.TotalScore, done.IsNegative = &text, &negative
	}
	if err := q.SurveyComplete(ctx, done); err != nil {
		return err
	}
	if err := q.SurveyScoreSections(ctx, score); err != nil {
		return err
	}
	s.Status = rules.SurveyCompleted
	if err := q.SurveyMessageCancel(ctx, s.ID); err != nil {
		return err
	}
	called := slices.ContainsFunc(all, func(r rules.Response) bool { return r.Question.CallsForAction(r.Values) })
	return openSurveyAction(ctx, q, s.ID, value(done.IsNegative), called)
}

// response is a question of the survey; nil for one that it does not have.
func (s *patientSurvey) response(key questionKey) *rules.Response {
	for _, part := range s.sections {
		if part.position != key.position {
			continue
		}
		for i := range part.responses {
			if part.responses[i].Question.ID == key.question {
				return &part.responses[i]
			}
		}
	}
	return nil
}

// spoken are the values that say something.
func spoken(values []string) []string {
	said := []string{}
	for _, text := range values {
		if text = strings.TrimSpace(text); text != "" {
			said = append(said, text)
		}
	}
	return said
}

// miss answers a token that no survey has. It is counted by the client's address, so that nobody can try many.
func (a patientSurveys) miss(ctx context.Context) error {
	r := requestOf(ctx)
	decision, err := a.rates.Take(ctx, a.rates.Charges(limits.PolicyLink, limits.Caller{ID: limits.ClientAddress(r.clientIP)}, nil, 0))
	if err != nil {
		return err
	}
	if err := decision.Err(); err != nil {
		return err
	}
	return problem.NotFound
}
