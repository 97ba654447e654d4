package tests

import (
	"regexp"
	"slices"
	"strings"
)

// documentedFields are the members that the API's specification shows, by path; the first match
// applies. Other members are not compared.
var documentedFields = []struct {
	path   *regexp.Regexp
	fields string
}{
	{regexp.MustCompile(`/auth/token/`), "access refresh"},
	{regexp.MustCompile(`/(assign_role|change_password|reprocess)/`), ""}, // the specification shows no answer
	{regexp.MustCompile(`/auth/users/`), "id username email first_name last_name phone hospital department language is_active"},
	{regexp.MustCompile(`/auth/roles/`), "id name"},
	{regexp.MustCompile(`/hospitals/`), "id name name_ar code address city phone email license_number capacity status"},
	{regexp.MustCompile(`/departments/`), "id hospital name name_ar code parent manager phone location status"},
	{regexp.MustCompile(`/physicians/`), "id first_name last_name first_name_ar last_name_ar license_number specialization" +
		" hospital department phone email status"},
	{regexp.MustCompile(`/patients/`), "id mrn national_id first_name last_name first_name_ar last_name_ar date_of_birth gender" +
		" phone email address city primary_hospital status"},
	{regexp.MustCompile(`/journeys/templates/`), "id name name_ar journey_type description hospital hospital_name is_active is_default" +
		" stages stage_count order trigger_event_code auto_send_survey survey_template_name"},
	{regexp.MustCompile(`/stage-templates/`), "id journey_template name name_ar code order trigger_event_code survey_template" +
		" auto_send_survey survey_delay_hours requires_physician requires_department is_optional is_active"},
	{regexp.MustCompile(`/progress/`), "journey_id encounter_id patient journey_type status completion_percentage is_complete" +
		" started_at completed_at stages name order survey_sent"},
	{regexp.MustCompile(`/instances/`), "id journey_template patient encounter_id hospital department metadata status started_at"},
	{regexp.MustCompile(`/stage-instances/`), "id journey_instance stage_template status"},
	{regexp.MustCompile(`/bulk_create/`), "created failed errors"},
	{regexp.MustCompile(`/events/`), "id source_system event_code encounter_id status received_at patient_identifier payload_json"},
	{regexp.MustCompile(`/configs/`), "id name source_system description api_url is_active config_json"},
}

// documented is the part of a success's body that the specification shows.
func documented(path string, body any) any {
	path, _, _ = strings.Cut(path, "?")
	for _, d := range documentedFields {
		if d.path.MatchString(path) {
			if d.fields == "" {
				return nil
			}
			return only(body, append(strings.Fields(d.fields), "count", "next", "previous", "results"))
		}
	}
	return body
}

// arbitrary are the members with arbitrary content.
var arbitrary = []string{"metadata", "payload_json", "config_json", "errors"}

func only(data any, fields []string) any {
	switch d := data.(type) {
	case []any:
		kept := make([]any, len(d))
		for i := range d {
			kept[i] = only(d[i], fields)
		}
		return kept
	case map[string]any:
		kept := map[string]any{}
		for key, value := range d {
			if !slices.Contains(fields, key) {
				continue
			}
			if kept[key] = value; !slices.Contains(arbitrary, key) {
				kept[key] = only(value, fields)
			}
		}
		return kept
	}
	return data
}
