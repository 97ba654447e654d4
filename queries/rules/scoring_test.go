package rules_test

import (
	"testing"

	"github.com/px360/px360/queries/rules"
)

func TestTotalScore(t *testing.T) {
	t.Parallel()
	response := func(kind string, weight int64, values ...string) rules.Response {
		return rules.Response{Question: rules.Question{Type: kind, IsScored: true, Weight: weight, PositiveAnswer: "no"}, Values: values}
	}
	unscored := response("rating", 1, "1")
	unscored.Question.IsScored = false
	for name, c := range map[string]struct {
		method    string
		responses []rules.Response
		want      int64
		scored    bool
	}{
		"nothing":           {"average", nil, 0, false},
		"words alone":       {"average", []rules.Response{response("text", 1, "5"), unscored}, 0, false},
		"a rating":          {"average", []rules.Response{response("rating", 1, "4"), response("likert", 1)}, 400, true},
		"rounded half up":   {"average", []rules.Response{response("rating", 1, "4"), response("rating", 1, "4"), response("rating", 1, "5")}, 433, true},
		"nps beside rating": {"average", []rules.Response{response("nps", 1, "10"), response("rating", 1, "1")}, 300, true},
		"nps in hundredths": {"average", []rules.Response{response("nps", 1, "7")}, 380, true},
		"a good no":         {"average", []rules.Response{response("yes_no", 1, "no"), response("yes_no", 1, "yes")}, 300, true},
		"an exact half":     {"weighted", []rules.Response{response("rating", 3, "1"), response("nps", 5, "1")}, 125, true},
		"half up":           {"weighted", []rules.Response{response("nps", 3, "1"), response("nps", 5, "2")}, 165, true},
		"by weight":         {"weighted", []rules.Response{response("rating", 3, "5"), response("rating", 1, "1")}, 400, true},
		"method nps":        {"nps", []rules.Response{response("rating", 1, "1"), response("nps", 1, "9")}, 900, true},
		"method nps, zero":  {"nps", []rules.Response{response("nps", 1, "0")}, 0, true},
	} {
		if got, scored := rules.TotalScore(c.method, c.responses); got != c.want || scored != c.scored {
			t.Errorf("%s: %d, %v; want %d, %v", name, got, scored, c.want, c.scored)
		}
	}
}
