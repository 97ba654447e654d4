package tests

import (
	"context"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/px360/px360/openapi"
	"github.com/px360/px360/queries"
)

// A tableCheck is a CHECK of the schema.
type tableCheck struct {
	Name, Table, Definition string
	Columns                 []string
}

// checks are all CHECKs of tables that clients write to.
func (s *system) checks() []tableCheck {
	s.t.Helper()
	rows, err := s.db.Query(context.Background(), `
		SELECT conname, conrelid::regclass::text, pg_get_expr(conbin, conrelid),
		       ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = c.conrelid AND a.attnum = ANY (c.conkey) ORDER BY a.attnum)
		FROM pg_constraint c WHERE contype = 'c' AND connamespace = 'public'::regnamespace ORDER BY 2, 1`)
	must(s.t, err)
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[tableCheck])
	must(s.t, err)
	return all
}

// writtenProperties are the properties of all bodies that are written to a table, by table and column.
func writtenProperties(t *testing.T) map[string]map[string][]*openapi3.Schema {
	t.Helper()
	doc, err := openapi.Load()
	must(t, err)
	found := map[string]map[string][]*openapi3.Schema{}
	for path, item := range doc.Paths.Map() {
		noun := ""
		switch {
		case strings.HasSuffix(path, "/update_profile/"):
			noun = "user"
		case item.Get != nil: // a list, or a row of it
			noun, _ = item.Get.Extensions["x-px360-resource"].(string)
			if strings.HasSuffix(path, "/settings/") { // columns of the row itself
				noun, _ = item.Get.Extensions["x-px360-object"].(string)
			}
		}
		for _, o := range item.Operations() {
			if noun == "" || o.RequestBody == nil {
				continue
			}
			table := tables[noun][0]
			if table == "" {
				t.Fatalf("%s: its table is not in matrix_world_test.go", o.OperationID)
			}
			if found[table] == nil {
				found[table] = map[string][]*openapi3.Schema{}
			}
			for name, property := range mergedSchema(o.RequestBody.Value.Content["application/json"].Schema).Properties {
				schema := mergedSchema(property)
				found[table][name] = append(found[table][name], schema)
				for member, property := range schema.Properties { // a column each
					found[table][name+"_"+member] = append(found[table][name+"_"+member], mergedSchema(property))
				}
			}
		}
	}
	return found
}

// serverChecks are the CHECKs that no value of a single field of a body can violate, and why.
var serverChecks = map[string]string{
	"journey_instances_completed_has_time":    "the server sets completed_at with the status",
	"stage_instances_completed_has_time":      "the server sets completed_at with the status",
	"events_finished_has_time":                "the worker sets processed_at with the status",
	"events_sender_kind_check":                "the server's",
	"events_status_check":                     "the worker's",
	"used_refresh_tokens_token_id_check":      "an id in a signed token",
	"audit_log_actor_kind_check":              "the server's",
	"survey_templates_version_check":          "the server's",
	"actions_status_check":                    "the server's",
	"actions_escalation_level_check":          "the worker's and the server's",
	"action_log_kind_check":                   "the worker's and the server's",
	"user_messages_kind_check":                "the worker's and the server's",
	"user_messages_status_check":              "the worker's",
	"webhook_endpoints_disabled_reason_check": "the worker's",
	"webhook_messages_status_check":           "the worker's",
	"surveys_status_check":                    "the worker's and the server's",
	"survey_messages_kind_check":              "the worker's",
	"survey_messages_channel_check":           "the worker's",
	"survey_messages_status_check":            "the worker's",
}

// TestChecksStandInTheContract compares every CHECK with the contract: a value that the contract takes must satisfy the
// CHECK. Values are tried that the CHECK itself names, with their neighbours, and those at the limits of the contract.
// A CHECK of several columns has a message in queries/constraints.go.
func TestChecksStandInTheContract(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	written := writtenProperties(t)
	compared := 0
	for _, check := range s.checks() {
		if _, ours := serverChecks[check.Name]; ours {
			continue
		}
		if len(check.Columns) != 1 {
			if _, found := queries.FieldErrorOf(&pgconn.PgError{Code: "23514", ConstraintName: check.Name}); !found {
				t.Errorf("%s: CHECK (%s) of %v has no message in queries/constraints.go", check.Name, check.Definition, check.Columns)
			}
			continue
		}
		properties := written[check.Table][check.Columns[0]]
		if len(properties) == 0 {
			t.Errorf("%s: no body has %s.%s; if clients do not write it, add the CHECK to serverChecks", check.Name, check.Table, check.Columns[0])
		}
		for _, property := range properties {
			for _, value := range candidates(check, property) {
				if property.VisitJSON(value) != nil {
					continue
				}
				compared++
				if !s.satisfies(check, value) {
					t.Errorf("%s: the contract takes %v, which violates CHECK (%s)", check.Name, value, check.Definition)
				}
			}
		}
	}
	if compared < 200 {
		t.Errorf("only %d values were compared", compared)
	}
	t.Logf("%d values", compared)
}

var (
	numbersIn = regexp.MustCompile(`\d+`)
	textsIn   = regexp.MustCompile(`'([^']*)'`)
)

// candidates are values around the limits of a CHECK and of a property.
func candidates(check tableCheck, property *openapi3.Schema) []any {
	var all []any
	if property.Type.Is("integer") {
		limits := []float64{0, math.MinInt32, math.MaxInt32}
		for _, digits := range numbersIn.FindAllString(check.Definition, -1) {
			limit, _ := strconv.ParseFloat(digits, 64)
			limits = append(limits, limit, -limit)
		}
		for _, limit := range []*float64{property.Min, property.Max} {
			if limit != nil {
				limits = append(limits, *limit)
			}
		}
		for _, limit := range limits {
			all = append(all, limit-1, limit, limit+1)
		}
		return all
	}
	texts := []string{"", " ", "a", "A-1_z", "a b", "a.b", "ن", "é", "a\n", "\n", "-", strings.Repeat("a", 50), strings.Repeat("a", 51), strings.Repeat("a", 201)}
	for _, quoted := range textsIn.FindAllStringSubmatch(check.Definition, -1) {
		texts = append(texts, quoted[1], quoted[1]+"x", strings.ToUpper(quoted[1]))
	}
	all = append(all, property.Enum...)
	for _, text := range texts {
		if text != "" && strings.TrimSpace(text) == "" && property.MinLength > 0 {
			continue // text is trimmed before it is checked
		}
		all = append(all, text)
	}
	return all
}

// satisfies asks Postgres whether a value of the column satisfies the CHECK. A null does.
func (s *system) satisfies(check tableCheck, value any) (ok bool) {
	s.t.Helper()
	column := pgx.Identifier{check.Columns[0]}.Sanitize()
	columnType := "text"
	if number, isNumber := value.(float64); isNumber {
		if number < math.MinInt32 || number > math.MaxInt32 {
			return false // no value of an integer column
		}
		columnType, value = "integer", int64(number)
	}
	query := fmt.Sprintf("SELECT coalesce(%s, true) FROM (SELECT $1::%s AS %s) t", check.Definition, columnType, column)
	must(s.t, s.db.QueryRow(context.Background(), query, value).Scan(&ok))
	return ok
}

// TestTextColumnsHaveALimit: a column of unlimited text has a limit in the contract, and so does every integer.
func TestTextColumnsHaveALimit(t *testing.T) {
	t.Parallel()
	for table, columns := range writtenProperties(t) {
		for column, properties := range columns {
			for _, p := range properties {
				formatted := slices.Contains([]string{"uuid", "date", "date-time"}, p.Format)
				switch {
				case p.Type == nil: // free JSON: see TestFreeJSONIsBounded
				case p.Type.Is("string") && len(p.Enum) == 0 && !formatted && p.MaxLength == nil:
					t.Errorf("%s.%s has no maxLength", table, column)
				case p.Type.Is("integer") && (p.Min == nil || p.Max == nil):
					t.Errorf("%s.%s has no minimum or no maximum", table, column)
				}
			}
		}
	}
}
