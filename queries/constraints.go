package queries

import (
	"errors"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
)

// A FieldError is a violated constraint as the client's own mistake: a field of the request, by its name on the
// wire, and what is wrong with it.
type FieldError struct {
	Field, Message string
}

func (e *FieldError) Error() string { return e.Field + ": " + e.Message }

// FieldErrorOf finds the field error in an error of an insert or update. It is false if no constraint that a
// client can violate was violated.
func FieldErrorOf(err error) (*FieldError, bool) {
	var field *FieldError
	if errors.As(err, &field) {
		return field, true
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return nil, false
	}
	if v, found := violations[pg.ConstraintName]; found {
		return &v, true
	}
	// The other side of a composite key: the row would leave the hospital of those that refer to it.
	if pg.Code == pgerrcode.ForeignKeyViolation && strings.Contains(pg.Detail, "(hospital_id, id)") {
		return &FieldError{"hospital", "Others of the hospital refer to this, so it cannot move to another."}, true
	}
	if field, found := references[pg.ConstraintName]; found {
		return &FieldError{field, MessageMisplaced}, true
	}
	return nil, false
}

// MessageMisplaced is about a reference to another hospital's object.
const MessageMisplaced = "The object is not of this hospital, or does not exist any more."

const whole = "non_field_errors"

// violations says, by the name of a constraint, which field of a request broke it. Whether a
// reference exists is asked before a row is written; these catch what changed in between.
var violations = map[string]FieldError{
	"hospitals_code_key":                             {"code", "hospital with this code already exists."},
	"users_username_key":                             {"username", "A user with that username already exists."},
	"departments_hospital_id_code_key":               {whole, "The fields hospital, code must make a unique set."},
	"departments_parent_is_another":                  {"parent", "A department cannot be above itself."},
	"physicians_hospital_id_license_number_key":      {"license_number", "physician with this license number already exists."},
	"patients_primary_hospital_id_mrn_key":           {"mrn", "patient with this mrn already exists."},
	"stage_templates_journey_template_id_code_key":   {whole, "The fields journey_template, code must make a unique set."},
	"journey_instances_hospital_id_encounter_id_key": {"encounter_id", "journey instance with this encounter id already exists."},
	"journey_templates_default_key":                  {"is_default", "Another template was made the default at the same time."},
	"integration_configs_api_key_hash_key":           {"api_key", "integration config with this api key already exists."},
	"stage_instances_in_order_key":                   {whole, "The journey has this stage already."},
	"users_department_in_hospital":                   {"department", "A department needs its hospital."},
}

// references says, by the name of a foreign key, which field refers to what is not there.
var references = map[string]string{
	"users_hospital_id_fkey":                                   "hospital",
	"integration_config_hospitals_hospital_id_fkey":            "hospitals",
	"users_department_id_fkey":                                 "department",
	"departments_hospital_id_fkey":                             "hospital",
	"departments_parent_id_fkey":                               "parent",
	"departments_manager_id_fkey":                              "manager",
	"physicians_hospital_id_fkey":                              "hospital",
	"physicians_department_id_fkey":                            "department",
	"patients_primary_hospital_id_fkey":                        "primary_hospital",
	"survey_templates_hospital_id_fkey":                        "hospital",
	"journey_templates_hospital_id_fkey":                       "hospital",
	"stage_templates_journey_template_id_fkey":                 "journey_template",
	"journey_templates_post_discharge_survey_template_id_fkey": "post_discharge_survey_template",
	"journey_instances_post_discharge_survey_template_id_fkey": "journey_template", // from which it is copied
	"stage_templates_survey_template_id_fkey":                  "survey_template",
	"journey_instances_patient_id_fkey":                        "patient",
	"journey_instances_hospital_id_fkey":                       "hospital",
	"journey_instances_journey_template_id_fkey":               "journey_template",
	"journey_instances_department_id_fkey":                     "department",
	"stage_instances_journey_instance_id_fkey":                 "journey_instance",
	"stage_instances_stage_template_id_fkey":                   "stage_template",
	"stage_instances_survey_template_id_fkey":                  "journey_template", // whose stages are copied
	"stage_instances_physician_id_fkey":                        "physician",
	"stage_instances_department_id_fkey":                       "department",
	"integration_configs_hospital_id_fkey":                     "hospital",
	"webhook_endpoints_hospital_id_fkey":                       "hospital",
	"actions_hospital_id_fkey":                                 "hospital",
	"actions_department_id_fkey":                               "department",
	"actions_assigned_to_fkey":                                 "assigned_to",
	"actions_journey_instance_id_fkey":                         "journey_instance",
	"actions_stage_instance_id_fkey":                           "stage_instance",
	"actions_survey_id_fkey":                                   "survey_instance",
	"actions_physician_id_fkey":                                "physician",
	"actions_patient_id_fkey":                                  "patient",
}
