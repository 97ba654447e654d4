package rules

import "strconv"

// How the score of an answered survey is found.
const (
	ScoringAverage  = "average"
	ScoringWeighted = "weighted"
	ScoringNPS      = "nps"
)

// A Response is a question and what was answered; no values if nothing was.
type Response struct {
	Question Question
	Values   []string
}

// TotalScore is the score of a survey in hundredths, rounded half up: the average of the scored answers on a scale
// from 1 to 5, plain or by weight; or, by the method nps, the answer to the nps question, from 0 to 10. It is false if no
// answer counts.
func TotalScore(method string, responses []Response) (hundredths int64, scored bool) {
	var sum, weights int64
	for _, r := range responses {
		score, counts := r.Question.score(r.Values)
		if method == ScoringNPS && counts {
			counts, score = r.Question.Type == QuestionNPS, (score-100)*5/2
		}
		if !counts {
			continue
		}
		weight := int64(1)
		if method == ScoringWeighted {
			weight = r.Question.Weight
		}
		sum, weights = sum+score*weight, weights+weight
	}
	if weights == 0 {
		return 0, false
	}
	return (2*sum + weights) / (2 * weights), true
}

// HaveOneNPS tells whether exactly one of the questions is an nps question, which the scoring method nps needs.
func HaveOneNPS(questions []Question) bool {
	count := 0
	for _, q := range questions {
		if q.Type == QuestionNPS {
			count++
		}
	}
	return count == 1
}

// A Summary is what responses come to, for scores of many.
type Summary struct {
	Promoters, Passives, Detractors int16 // answers of 9 and 10, 7 and 8, and less to nps questions
	Rated, Satisfied                int16 // answers from 1 to 5, and of those 4 and 5
	Scored, Top                     int16 // answers that count for the score, and of those the best: 5, of nps 9 and 10, the positive one of yes_no
	Score                           int32 // what those that count add up to, in hundredths on a scale from 1 to 5
}

// Summarize adds up responses.
func Summarize(responses []Response) (s Summary) {
	for _, r := range responses {
		if len(r.Values) != 1 {
			continue
		}
		number, _ := strconv.Atoi(r.Values[0])
		top := false
		switch r.Question.Type {
		case QuestionNPS:
			top = number >= 9
			switch {
			case top:
				s.Promoters++
			case number >= 7:
				s.Passives++
			default:
				s.Detractors++
			}
		case QuestionRating, QuestionLikert:
			top = number == 5
			if s.Rated++; number >= 4 {
				s.Satisfied++
			}
		case QuestionYesNo:
			top = r.Values[0] == r.Question.PositiveAnswer
		}
		score, counts := r.Question.score(r.Values)
		if !counts {
			continue
		}
		s.Scored, s.Score = s.Scored+1, s.Score+int32(score)
		if top {
			s.Top++
		}
	}
	return s
}
