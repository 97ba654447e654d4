package server

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/api"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/server/problem"
)

const (
	// minCompleted is of how many completed surveys scores are told.
	minCompleted = 5
	// maxScoreDays is over how many days they are added up: two years.
	maxScoreDays = 731
	dayLayout    = "2006-01-02"
)

// surveyScoreOperations add up the scores of surveys.
type surveyScoreOperations struct {
	engine  *engine
	filters mapping[db.SurveyScoresParams, api.RetrieveSurveyScoresParams]
}

func newSurveyScores(e *engine) surveyScoreOperations {
	return surveyScoreOperations{e, newMapping[db.SurveyScoresParams, api.RetrieveSurveyScoresParams](e, "GroupBy", "From", "To")}
}

// sectionGroups are those by which the sections of a survey differ.
var sectionGroups = map[string]bool{"department": true, "physician": true, "stage_template": true, "survey_template": true}

// RetrieveSurveyScores answers the scores of a span of days, by group.
func (o surveyScoreOperations) RetrieveSurveyScores(ctx context.Context, params api.RetrieveSurveyScoresParams) (answer api.SurveyScores, err error) {
	filter := o.filters.convert(params)
	filter.GroupBy = value(params.GroupBy)
	if filter.GroupBy == "" {
		filter.GroupBy = "hospital"
	}
	if filter.FromDay, filter.ToDay, err = span(value(params.From), value(params.To), time.Now()); err != nil {
		return answer, err
	}
	// A filter by what differs within a survey leaves single sections, each of which counts.
	filter.BySection = sectionGroups[filter.GroupBy] || params.Department != nil || params.Physician != nil || params.StageTemplate != nil || params.SurveyTemplate != nil
	r := requestOf(ctx)
	filter.Scope = r.principal.Scope()
	answer = api.SurveyScores{GroupBy: filter.GroupBy, From: filter.FromDay, To: filter.ToDay, Results: []api.SurveyScore{}}
	err = o.engine.db.ReadUnprepared(ctx, func(q *db.Queries) error {
		if err := checkFilters(ctx, q, r.page.References); err != nil {
			return err
		}
		rows, err := q.SurveyScores(ctx, filter)
		if err != nil {
			return err
		}
		var ids []uuid.UUID
		for _, row := range rows {
			ids = append(ids, row.GroupID)
		}
		names, err := q.SurveyScoreNames(ctx, db.SurveyScoreNamesParams{Noun: filter.GroupBy, Ids: ids})
		if err != nil {
			return err
		}
		named := map[uuid.UUID]string{}
		for _, row := range names {
			named[row.ID] = row.Name
		}
		for _, row := range rows {
			answer.Results = append(answer.Results, scoreOf(filter.GroupBy, row, named))
		}
		return nil
	})
	return answer, err
}

// span is the days that scores are added up over. Without a last day it is today, by the clock that is furthest ahead.
func span(from, to string, now time.Time) (string, string, error) {
	last := now.UTC().Add(14 * time.Hour)
	if to != "" {
		last, _ = time.Parse(dayLayout, to) // the contract has checked both
	}
	last, _ = time.Parse(dayLayout, last.Format(dayLayout))
	first := last.AddDate(0, 0, -30)
	if from != "" {
		first, _ = time.Parse(dayLayout, from)
	}
	switch days := last.Sub(first).Hours()/24 + 1; {
	case days < 1:
		return "", "", problem.InvalidField("to", "It must not be before from.")
	case days > maxScoreDays:
		return "", "", problem.InvalidField("from", fmt.Sprintf("Ask for at most %d days.", maxScoreDays))
	}
	return first.Format(dayLayout), last.Format(dayLayout), nil
}

// scoreOf is a group as the API shows it.
func scoreOf(groupBy string, row db.SurveyScoresRow, names map[uuid.UUID]string) api.SurveyScore {
	score := api.SurveyScore{Sent: row.Sent, Completed: row.Completed, ResponseRate: *ratio(int64(row.Completed), int64(row.Sent))}
	switch {
	case groupBy == "journey_type":
		score.Group, score.Name = row.GroupText, row.GroupText
	case groupBy == "day" || groupBy == "month":
		score.Group, score.Name = row.GroupDay, row.GroupDay
	case row.GroupID != uuid.Nil:
		score.Group, score.Name = row.GroupID.String(), names[row.GroupID]
	}
	if row.Completed < minCompleted {
		return score
	}
	if asked := int64(row.Promoters + row.Passives + row.Detractors); asked > 0 {
		score.Promoters, score.Passives, score.Detractors = &row.Promoters, &row.Passives, &row.Detractors
		score.Nps = ratio(100*int64(row.Promoters-row.Detractors), asked)
	}
	score.Csat = ratioOrNil(int64(row.Satisfied), int64(row.Rated))
	score.TopBox = ratioOrNil(int64(row.Top), int64(row.Scored))
	score.Average = ratioOrNil(row.Score, 100*int64(row.Scored))
	return score
}

func ratioOrNil(part, whole int64) *string {
	if whole == 0 {
		return nil
	}
	return ratio(part, whole)
}

// ratio is a quotient with two decimals, rounded half up.
func ratio(part, whole int64) *string {
	text := "0.00"
	if whole > 0 {
		text = decimal(floorDiv(200*part+whole, 2*whole))
	}
	return &text
}

func floorDiv(a, b int64) int64 {
	if q := a / b; a%b >= 0 {
		return q
	}
	return a/b - 1
}

// decimal writes hundredths.
func decimal(hundredths int64) string {
	sign := ""
	if hundredths < 0 {
		sign, hundredths = "-", -hundredths
	}
	return fmt.Sprintf("%s%d.%02d", sign, hundredths/100, hundredths%100)
}
