package rules

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
