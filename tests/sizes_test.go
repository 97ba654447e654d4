package tests

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/px360/px360/gen/client"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/server"
	"github.com/px360/px360/tests/dbtest"
)

// jsonOf is a JSON text of so many bytes.
func jsonOf(size int) json.RawMessage {
	return json.RawMessage(`"` + strings.Repeat("a", size-2) + `"`)
}

const (
	kilobytes64 = 64 << 10
	msgJSONSize = "Ensure this field has no more than 65536 bytes of JSON."
)

// TestFreeJSONHasALimit stores free JSON of 64 KB and is refused a byte more, wherever there is free JSON.
func TestFreeJSONHasALimit(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	ctx := context.Background()
	j := c.journey(c.Template(nil, func(s *stageTemplate) {}), "ENC-1")
	stage := value[uuid.UUID](c.system, "SELECT id FROM stage_instances WHERE journey_instance_id = $1", j.id)
	config := try(c.px.CreateIntegrationConfig(ctx, client.IntegrationConfigCreate{Name: "HIS", SourceSystem: "his"})).ok(t)
	for field, write := range map[string]func(json.RawMessage) error{
		"metadata of a journey": func(text json.RawMessage) error {
			return second(c.px.UpdateJourneyInstance(ctx, j.id, client.JourneyInstanceUpdate{Metadata: text}))
		},
		"metadata of a stage": func(text json.RawMessage) error {
			return second(c.px.UpdateStageInstance(ctx, stage, client.StageInstanceUpdate{Metadata: text}))
		},
		"config_json": func(text json.RawMessage) error {
			return second(c.px.UpdateIntegrationConfig(ctx, config.ID, client.IntegrationConfigUpdate{ConfigJSON: text}))
		},
		"payload_json": func(text json.RawMessage) error {
			return second(c.px.CreateEvent(ctx, eventOf("ENC-1", func(e *client.EventCreate) { e.PayloadJSON = text })))
		},
	} {
		must(t, write(jsonOf(kilobytes64)))
		name, _, _ := strings.Cut(field, " ")
		refusedField(t, write(jsonOf(kilobytes64+1)), name, msgJSONSize)
	}
}

func second[T any](_ T, err error) error { return err }

// TestPayloadLimitOfABulk refuses the events of a bulk whose payload is too large, each by its index, and no others.
func TestPayloadLimitOfABulk(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	payload := func(size int) func(*client.EventCreate) {
		return func(e *client.EventCreate) { e.PayloadJSON = jsonOf(size) }
	}
	answer := try(c.px.BulkCreateEvents(context.Background(), client.EventBulkCreate{Events: []client.EventCreate{
		eventOf("A", payload(kilobytes64)), eventOf("B", payload(kilobytes64+1)), eventOf("C"), eventOf("D", payload(4<<20)),
	}})).ok(t)
	want := fmt.Sprintf(`[{"errors":{"payload_json":["%s"]},"index":1},{"errors":{"payload_json":["%s"]},"index":3}]`, msgJSONSize, msgJSONSize)
	if answer.Created != 2 || jsonText(answer.Errors) != want {
		t.Errorf("%d created, errors %s, want %s", answer.Created, jsonText(answer.Errors), want)
	}
}

// TestPayloadLimitCanBeRaised is about payload_json alone: what the hospital keeps with a journey stays at 64 KB.
func TestPayloadLimitCanBeRaised(t *testing.T) {
	t.Parallel()
	c := startServer(t, func(o *server.Options) { o.MaxPayload = 256 << 10 }).clinic()
	ctx := context.Background()
	j := c.journey(c.Template(nil), "ENC-1")
	event := func(size int) client.EventCreate {
		return eventOf("ENC-1", func(e *client.EventCreate) { e.PayloadJSON = jsonOf(size) })
	}
	try(c.px.CreateEvent(ctx, event(256<<10))).ok(t)
	try(c.px.CreateEvent(ctx, event(256<<10+1))).refusedField(t, "payload_json", "Ensure this field has no more than 262144 bytes of JSON.")
	try(c.px.UpdateJourneyInstance(ctx, j.id, client.JourneyInstanceUpdate{Metadata: jsonOf(kilobytes64 + 1)})).refusedField(t, "metadata", msgJSONSize)
}

// TestPagesHaveALimit lists rows as large as rows could be before free JSON had a limit. A page is never cut: one of
// more than 8 MB is refused, and fewer rows are answered.
func TestPagesHaveALimit(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	template, patient := c.Template(nil), c.Patient("M1")
	for i := range 20 {
		c.Journey(template, patient, fmt.Sprint("E", i), func(j *db.JourneyInsertParams) { j.Metadata = jsonOf(1 << 20) })
	}
	const journeys = "/api/journeys/instances/?page_size="
	for size, wanted := range map[int]int{1: 200, 7: 200, 8: 400, 11: 400, 20: 400} { // 8 and 11: as rows not too large, but as JSON
		a := c.send(http.MethodGet, journeys+fmt.Sprint(size), c.px.access, nil)
		if a.status != wanted {
			t.Errorf("%d rows of 1 MB: answered %d %.100s, want %d", size, a.status, a.body, wanted)
			continue
		}
		if want := `{"page_size":["Ask for fewer rows."]}`; wanted == 400 && a.body != want {
			t.Errorf("%d rows of 1 MB: answered %s, want %s", size, a.body, want)
		}
		var page struct {
			Count   int
			Results []struct{ Metadata string }
		}
		must(t, json.Unmarshal([]byte(a.body), &page))
		if wanted == 200 && (page.Count != 20 || len(page.Results) != size || len(page.Results[size-1].Metadata) != 1<<20-2) {
			t.Errorf("%d rows of 1 MB: %d of %d are answered", size, len(page.Results), page.Count)
		}
	}
	if a := c.send(http.MethodHead, journeys+"20", c.px.access, nil); a.status != 400 {
		t.Errorf("HEAD of 20 rows of 1 MB: answered %d, want 400", a.status)
	}
}

// TestSearchTermsCountOnce: every term of a search is compared with every row, so each counts once and only ten do.
func TestSearchTermsCountOnce(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	for query, want := range map[string]int{
		strings.Repeat("a ", 100): 1, "a A,a": 1, "أحمد احمد": 1, "a b c d e f g h i j": 10, "a b c d e f g h i j k l m": 10,
		"a\u2003b\u2003c d e f g h i j k l": 10, "": 0, " , ": 0,
	} {
		if got := value[int](c.system, "SELECT cardinality(search_patterns($1))", query); got != want {
			t.Errorf("%q has %d patterns, want %d", query, got, want)
		}
	}
	c.Patient("abcdefghij")
	for query, want := range map[string]int64{"a b c d e f g h i j": 1, "a b c d e f g h i z": 0, "a b c d e f g h i j z": 1, "a a a a a a a a a a a z": 0} {
		if got := try(c.px.ListPatients(context.Background(), &client.ListPatientsParams{Search: &query})).ok(t).Count; got != want {
			t.Errorf("%q finds %d, want %d", query, got, want)
		}
	}
}

// TestUsernamesAreNormalized as Django normalizes them, to NFKC: whoever writes a name in full-width letters means the
// same user, and nobody can take a name that looks like another's.
func TestUsernamesAreNormalized(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	ctx := context.Background()
	create := func(username string) reply[client.User] {
		return try(c.px.CreateUser(ctx, client.UserCreate{Username: username, Email: "a@hospital.sa", Password: password, PasswordConfirm: password}))
	}
	if made := create("ｓａｒａ①").ok(t); made.Username != "sara1" {
		t.Errorf("the name is kept as %q", made.Username)
	}
	create("ｓara1").refusedField(t, "username", "A user with that username already exists.")
	create("sara\u2024x\u2100").refusedField(t, "username", msgUsername) // U+2100 is a/c
	for _, name := range []string{"sara1", "ｓａｒａ1", "sara¹"} {
		if a := c.send(http.MethodPost, "/api/auth/token/", noToken, fields{"username": name, "password": password}); a.status != 200 {
			t.Errorf("%s logs in with %d %s", name, a.status, a.body)
		}
	}
}

// TestMigrationNormalizesUsernames: of several names that are one when normalized, one stays.
func TestMigrationNormalizesUsernames(t *testing.T) {
	t.Parallel()
	conn, err := pgx.Connect(t.Context(), dbtest.New(t))
	must(t, err)
	defer conn.Close(context.Background())
	for i, name := range []string{"ａnna", "ａｎna", "sara", "ｓara", "omar", strings.Repeat("ﷺ", 150)} {
		_, err := conn.Exec(t.Context(), "INSERT INTO users (id, username, email, password, created_at) VALUES (gen_random_uuid(), $1, '', '', now() + make_interval(secs => $2))", name, i)
		must(t, err)
	}
	up, err := os.ReadFile("../schema/000012_usernames_normalized.up.sql")
	must(t, err)
	_, err = conn.Exec(t.Context(), string(up))
	must(t, err)
	var names string
	must(t, conn.QueryRow(t.Context(), "SELECT string_agg(left(username, 5), ' ' ORDER BY created_at) FROM users").Scan(&names))
	if want := "anna ａｎna sara ｓara omar ﷺﷺﷺﷺﷺ"; names != want {
		t.Errorf("the names are %s, want %s", names, want)
	}
}
