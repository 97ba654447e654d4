package tests

import (
	"net/http"
	"strings"
	"testing"
)

func TestSurveyQuestions(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	token := c.admin.access
	template := func(status int, method, path string, body any) map[string]any {
		t.Helper()
		return decode([]byte(c.expect(t, status, method, path, token, body).body)).(map[string]any)
	}
	const all = "/api/surveys/templates/"
	rating := fields{"text": "How was your doctor?", "text_ar": "كيف كان طبيبك؟", "question_type": "rating", "is_required": true}
	call := fields{"text": "May we call you?", "question_type": "yes_no", "is_scored": false, "action_on": []string{"yes"}}

	made := template(http.StatusCreated, "POST", all, fields{"hospital": c.hospital, "name": "Visit", "questions": []any{rating, call}})
	path := all + made["id"].(string) + "/"
	asked := made["questions"].([]any)
	first := asked[0].(map[string]any)
	if made["negative_threshold"] != "3.00" || jsonText(made["version"]) != "1" || len(asked) != 2 || first["is_scored"] != true || first["id"] == "" ||
		asked[1].(map[string]any)["is_scored"] != false {
		t.Fatalf("created %v", made)
	}
	same := template(http.StatusOK, "PATCH", path, fields{"questions": asked, "sms_text": "{hospital} asks: {link}"})
	if jsonText(same["version"]) != "1" || canonical(t, jsonText(same["questions"])) != canonical(t, jsonText(asked)) {
		t.Errorf("the same questions sent back made %v", same)
	}
	first["text"] = "How was your physician?"
	changed := template(http.StatusOK, "PATCH", path, fields{"questions": []any{asked[1], first}})
	if now := changed["questions"].([]any); jsonText(changed["version"]) != "2" || now[1].(map[string]any)["id"] != first["id"] || now[1].(map[string]any)["text"] != first["text"] {
		t.Errorf("changed questions are %v", changed)
	}
	if n := value[int](c.system, "SELECT count(*) FROM survey_versions WHERE survey_template_id = $1", made["id"]); n != 2 {
		t.Errorf("%d versions are kept, want 2", n)
	}
	nps := template(http.StatusCreated, "POST", all, fields{"hospital": c.hospital, "name": "NPS", "survey_type": "nps", "scoring_method": "nps",
		"questions": []any{fields{"text": "Would you recommend us?", "question_type": "nps"}}})
	if nps["negative_threshold"] != "7.00" {
		t.Errorf("the threshold of nps is %v, want 7.00", nps["negative_threshold"])
	}

	choice := func(values ...string) (choices []fields) {
		for _, v := range values {
			choices = append(choices, fields{"value": v, "label": "Label"})
		}
		return choices
	}
	list := func(questions ...any) fields { return fields{"questions": questions} }
	for _, bad := range []struct {
		body   fields
		answer string
	}{
		{list(rating, fields{"text": "Where?", "question_type": "multiple_choice"}), `{"questions":[{},{"choices":["This field is required."]}]}`},
		{list(fields{"text": "Where?", "question_type": "multiple_choice", "choices": choice("a")}), `{"questions":[{"choices":["Ensure this field has at least 2 elements."]}]}`},
		{list(fields{"text": "Where?", "question_type": "multiple_choice", "choices": choice("a", "a")}), `{"questions":[{"choices":["Give each choice a value of its own."]}]}`},
		{list(fields{"text": "Where?", "question_type": "multiple_choice", "choices": choice("a", "b"), "max_choices": 3}), `{"questions":[{"max_choices":["Ensure this value is less than or equal to 2."]}]}`},
		{list(fields{"text": "Well?", "question_type": "rating", "choices": choice("a", "b")}), `{"questions":[{"choices":["Only multiple_choice has choices."]}]}`},
		{list(fields{"text": "Well?", "question_type": "rating", "action_on": []string{"6"}}), `{"questions":[{"action_on":["\"6\" is not a valid choice."]}]}`},
		{list(fields{"question_type": "smiley"}), `{"questions":[{"question_type":["\"smiley\" is not a valid choice."],"text":["This field is required."]}]}`},
		{list(fields{"id": c.hospital, "text": "Well?", "question_type": "rating"}), `{"questions":[{"id":["Invalid pk \"` + c.hospital.String() + `\" - object does not exist."]}]}`},
		{list(asked[1], asked[1]), `{"questions":[{},{"id":["Invalid pk \"` + asked[1].(map[string]any)["id"].(string) + `\" - object does not exist."]}]}`},
		{fields{"scoring_method": "nps"}, `{"scoring_method":["Scoring method nps needs exactly one nps question."]}`},
		{fields{"reminder_hours": []int{72, 24}}, `{"reminder_hours":["Give them in ascending order."]}`},
		{fields{"negative_threshold": "3,5"}, `{"negative_threshold":["Enter a number from 0 to 10, such as 3.00."]}`},
		{fields{"sms_text": "How was it?"}, `{"sms_text":["The text needs {link}, where the link goes."]}`},
		{fields{"sms_text_ar": strings.Repeat("ك", 134) + "{link}"}, `{"sms_text_ar":["Too long for two SMS segments."]}`},
	} {
		if a := c.expect(t, http.StatusBadRequest, "PATCH", path, token, bad.body); canonical(t, a.body) != canonical(t, bad.answer) {
			t.Errorf("%s: %s, want %s", jsonText(bad.body), a.body, bad.answer)
		}
	}
}
