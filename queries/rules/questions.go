package rules

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/google/uuid"
)

// The types of questions. A scale is answered with a whole number, from 1 to 5 or, of nps, from 0 to 10.
const (
	QuestionRating         = "rating"
	QuestionLikert         = "likert"
	QuestionNPS            = "nps"
	QuestionYesNo          = "yes_no"
	QuestionMultipleChoice = "multiple_choice"
	QuestionText           = "text"
	QuestionTextarea       = "textarea"
)

// How many characters an answer in words may have.
const (
	maxTextAnswer     = 500
	maxTextareaAnswer = 4000
)

// A Question of a survey, as the API shows it and a version of the template stores it.
type Question struct {
	ID             uuid.UUID `json:"id"`
	Text           string    `json:"text"`
	TextAr         string    `json:"text_ar"`
	Type           string    `json:"question_type"`
	IsRequired     bool      `json:"is_required"`
	IsScored       bool      `json:"is_scored"`
	Weight         int64     `json:"weight"`
	PositiveAnswer string    `json:"positive_answer"` // of yes_no
	Choices        []Choice  `json:"choices"`         // of multiple_choice
	MaxChoices     int       `json:"max_choices"`
	ActionOn       []string  `json:"action_on"` // answers that call for an action
}

// A Choice of a multiple_choice question.
type Choice struct {
	Value   string `json:"value"`
	Label   string `json:"label"`
	LabelAr string `json:"label_ar"`
}

// UnmarshalJSON fills in what a client leaves out.
func (q *Question) UnmarshalJSON(text []byte) error {
	type plain Question
	read := plain{IsScored: true, Weight: 1, PositiveAnswer: "yes", Choices: []Choice{}, MaxChoices: 1, ActionOn: []string{}}
	if err := json.Unmarshal(text, &read); err != nil {
		return err
	}
	*q = Question(read)
	q.IsScored = q.IsScored && q.scorable()
	return nil
}

// ReadQuestions reads the questions of a template, or what a client sends as such.
func ReadQuestions(text json.RawMessage) ([]Question, error) {
	questions := []Question{}
	if err := json.Unmarshal(text, &questions); err != nil {
		return nil, fmt.Errorf("the questions of a survey: %w", err)
	}
	return questions, nil
}

// scale is the range of numbers that answer the question; it is false for questions that numbers do not answer.
func (q Question) scale() (lowest, highest int, ok bool) {
	switch q.Type {
	case QuestionRating, QuestionLikert:
		return 1, 5, true
	case QuestionNPS:
		return 0, 10, true
	}
	return 0, 0, false
}

func (q Question) scorable() bool {
	_, _, isScale := q.scale()
	return isScale || q.Type == QuestionYesNo
}

// Answers are all the answers that the question can have, in the order in which they are offered; nil for one that is
// answered in words.
func (q Question) Answers() []string {
	var answers []string
	if lowest, highest, ok := q.scale(); ok {
		for n := lowest; n <= highest; n++ {
			answers = append(answers, strconv.Itoa(n))
		}
	}
	if q.Type == QuestionYesNo {
		answers = []string{"yes", "no"}
	}
	for _, choice := range q.Choices {
		answers = append(answers, choice.Value)
	}
	return answers
}

// QuestionErrors are messages by field of a question; none for a valid one.
type QuestionErrors map[string][]string

func (e QuestionErrors) add(field, format string, values ...any) {
	e[field] = append(e[field], fmt.Sprintf(format, values...))
}

// CheckQuestions finds what is wrong with the questions that a client sends, beyond what the contract says of each. It
// returns the errors of each question, or nil if there are none. The ids must be those of current questions, each once.
func CheckQuestions(questions, current []Question) []QuestionErrors {
	errs, wrong := make([]QuestionErrors, len(questions)), false
	known := map[uuid.UUID]bool{}
	for _, q := range current {
		known[q.ID] = true
	}
	for i, q := range questions {
		errs[i] = q.check()
		if q.ID != uuid.Nil && !known[q.ID] {
			errs[i].add("id", `Invalid pk "%s" - object does not exist.`, q.ID)
		}
		delete(known, q.ID)
		wrong = wrong || len(errs[i]) > 0
	}
	if !wrong {
		return nil
	}
	return errs
}

func (q Question) check() QuestionErrors {
	errs := QuestionErrors{}
	switch {
	case q.Type != QuestionMultipleChoice && len(q.Choices) > 0:
		errs.add("choices", "Only multiple_choice has choices.")
	case q.Type != QuestionMultipleChoice:
	case len(q.Choices) == 0:
		errs.add("choices", MessageRequired)
	case len(q.Choices) == 1:
		errs.add("choices", "Ensure this field has at least 2 elements.")
	case q.MaxChoices > len(q.Choices):
		errs.add("max_choices", "Ensure this value is less than or equal to %d.", len(q.Choices))
	}
	answers := q.Answers()
	if q.Type == QuestionMultipleChoice && len(slices.Compact(slices.Sorted(slices.Values(answers)))) < len(answers) {
		errs.add("choices", "Give each choice a value of its own.")
	}
	for _, answer := range q.ActionOn {
		if !slices.Contains(answers, answer) {
			errs.add("action_on", `"%s" is not a valid choice.`, answer)
			break
		}
	}
	return errs
}

// MessageRequired is about an answer that is missing.
const MessageRequired = "This field is required."

// CheckAnswer returns what is wrong with an answer: a message, or nothing. No values at all are no answer, which only a
// required question refuses.
func (q Question) CheckAnswer(values []string) string {
	switch {
	case len(values) == 0 && q.IsRequired:
		return MessageRequired
	case len(values) == 0:
		return ""
	case q.Type == QuestionText, q.Type == QuestionTextarea:
		_, most := q.WordLimits()
		if len(values) > 1 || utf8.RuneCountInString(values[0]) > most {
			return fmt.Sprintf("Ensure this field has no more than %d characters.", most)
		}
		return ""
	}
	most, answers := 1, q.Answers()
	if q.Type == QuestionMultipleChoice {
		most = q.MaxChoices
	}
	if len(values) > most {
		return fmt.Sprintf("Ensure this field has no more than %d elements.", most)
	}
	for i, value := range values {
		if !slices.Contains(answers, value) || slices.Contains(values[:i], value) {
			return fmt.Sprintf(`"%s" is not a valid choice.`, value)
		}
	}
	return ""
}

// WordLimits are how many rows a field for an answer in words should have, and how many characters it may have.
func (q Question) WordLimits() (rows, characters int) {
	if q.Type == QuestionTextarea {
		return 5, maxTextareaAnswer
	}
	return 2, maxTextAnswer
}

// score is what an answer counts, in hundredths, on a scale from 1 to 5. It is false for what does not count.
func (q Question) score(values []string) (hundredths int64, counts bool) {
	if !q.IsScored || !q.scorable() || len(values) != 1 {
		return 0, false
	}
	if q.Type == QuestionYesNo {
		if values[0] == q.PositiveAnswer {
			return 500, true
		}
		return 100, true
	}
	n, err := strconv.ParseInt(values[0], 10, 64)
	if err != nil {
		return 0, false
	}
	if q.Type == QuestionNPS {
		return 100 + 40*n, true
	}
	return 100 * n, true
}

// CallsForAction tells whether an answer is among those that do.
func (q Question) CallsForAction(values []string) bool {
	return slices.ContainsFunc(values, func(value string) bool { return slices.Contains(q.ActionOn, value) })
}
