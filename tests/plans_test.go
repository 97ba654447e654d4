package tests

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/px360/px360/queries"
	"github.com/px360/px360/server"
	"github.com/px360/px360/server/limits"
)

// Planning takes longer than reading a row by its primary key. Postgres keeps a generic plan only if its
// estimated cost is not above that of custom plans, so a small change of a query can make it plan at
// each call.
func TestGenericPlans(t *testing.T) {
	t.Parallel()
	c := startServer(t, withLimits(limits.Limits{User: perHour(10_000), Events: perHour(10_000)})).clinic()
	template := c.Template(nil)
	visit := c.journey(template, "ENC-1")
	config, key := c.plainKey("his")
	paths := map[string]uuid.UUID{
		"auth/users": c.admin.id, "auth/roles": c.role("Nurse"),
		"organizations/hospitals": c.hospital, "organizations/departments": c.Department("LAB"),
		"organizations/physicians": c.Physician("PHY"), "organizations/patients": c.Patient("MRN-2"),
		"journeys/templates": template, "journeys/instances": visit.id, "journeys/stage-instances": visit.stages()[0].ID,
		"surveys/templates": c.Survey(), "integrations/configs": config,
	}
	for range 30 {
		for _, token := range []string{c.px.access, c.admin.access} {
			c.whoami(token).ok(t)
			try(c.as(token).RetrieveJourneyProgress(t.Context(), visit.id)).ok(t)
			c.expect(t, 201, "POST", oneEventPath, token, sourceEvent("his"))
		}
		c.expect(t, 201, "POST", oneEventPath, "", sourceEvent("his"), "X-API-Key", key)
		for path, id := range paths {
			c.expect(t, 200, "GET", "/api/"+path+"/"+id.String()+"/", c.px.access, nil)
		}
	}
	kept := 0
	for _, conn := range c.db.AcquireAllIdle(context.Background()) {
		rows, err := conn.Query(context.Background(), "SELECT statement, generic_plans, custom_plans FROM pg_prepared_statements WHERE generic_plans + custom_plans > 8")
		must(t, err)
		for rows.Next() {
			var statement string
			var generic, custom int
			must(t, rows.Scan(&statement, &generic, &custom))
			if custom > 6 { // Postgres makes five custom plans first
				name, _, _ := strings.Cut(statement, "\n")
				t.Errorf("%s: %d custom plans, %d uses of a generic plan", name, custom, generic)
			}
			kept++
		}
		must(t, rows.Err())
		conn.Release()
	}
	if kept < 15 {
		t.Errorf("only %d statements were used more than 8 times", kept)
	}
}

// A selective search must not be a full scan. The statements that the server sends are explained with
// their arguments.
func TestSearchOfManyPatientsUsesTheTrigramIndex(t *testing.T) {
	t.Parallel()
	ctx, s := context.Background(), startServer(t)
	conn, err := pgx.Connect(ctx, s.dbURL) // without a statement_timeout
	must(t, err)
	defer conn.Close(ctx)
	index := value[string](s, "SELECT pg_get_indexdef('patients_search_idx'::regclass)")
	for _, sql := range []string{
		"DROP INDEX patients_search_idx", // building it after the inserts is faster
		`INSERT INTO patients (id, mrn, first_name, last_name)
		SELECT gen_random_uuid(), 'MRN-' || i, (ARRAY['Ahmad', 'Sara', 'Omar', 'Layla', 'Yusuf', 'Huda'])[1 + i % 6], 'Family-' || i % 997
		FROM generate_series(1, 100000) i`,
		"UPDATE patients SET first_name = 'Quetzalcoatl' WHERE mrn = 'MRN-4711'",
		index,
		"ANALYZE patients",
	} {
		_, err = conn.Exec(ctx, sql)
		must(t, err)
	}
	t.Cleanup(func() { s.exec("TRUNCATE patients CASCADE") }) // faster than DELETE
	statements := &statementRecorder{}
	handler, token := statements.server(s), s.token(adminName, adminPassword)
	for _, query := range []string{"?search=quetzalcoatl", "?search=mrn,quetzalcoatl", "?search=QUETZALCOATL&ordering=-mrn"} {
		statements.take() // discard earlier statements
		request := httptest.NewRequest("GET", organizations+"patients/"+query, nil)
		request.Header.Set("Authorization", "Bearer "+token)
		response := httptest.NewRecorder()
		handler.ServeHTTP(response, request)
		if response.Code != 200 || !strings.HasPrefix(response.Body.String(), `{"count":1,`) {
			t.Fatalf("%s: %d %s", query, response.Code, response.Body)
		}
		explained := 0
		for _, statement := range statements.take() {
			if !strings.Contains(statement.SQL, "FROM patients") {
				continue
			}
			rows, err := conn.Query(ctx, "EXPLAIN "+statement.SQL, statement.Args...)
			must(t, err)
			lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
			must(t, err)
			if plan := strings.Join(lines, "\n"); !strings.Contains(plan, "patients_search_idx") || strings.Contains(plan, "Seq Scan on patients") {
				t.Errorf("%s: %s\n%s", query, statement.SQL, plan)
			}
			explained++
		}
		if explained != 2 {
			t.Errorf("%s: %d statements about patients, want the list and its count", query, explained)
		}
	}
}

// A statementRecorder records the statements of a pool, with their arguments.
type statementRecorder struct {
	mu   sync.Mutex
	sent []pgx.TraceQueryStartData
}

func (r *statementRecorder) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = append(r.sent, data)
	return ctx
}

// take returns the recorded statements and clears them.
func (r *statementRecorder) take() []pgx.TraceQueryStartData {
	r.mu.Lock()
	defer r.mu.Unlock()
	sent := r.sent
	r.sent = nil
	return sent
}

func (r *statementRecorder) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// server is another server on the system's database, whose statements are recorded.
func (r *statementRecorder) server(s *system) http.Handler {
	s.t.Helper()
	ctx := context.Background()
	database, err := queries.Open(ctx, s.dbURL, queries.DefaultOptions())
	must(s.t, err)
	config := database.Pool.Config()
	config.ConnConfig.Tracer = r
	database.Close()
	database.Pool, err = pgxpool.NewWithConfig(ctx, config)
	must(s.t, err)
	s.t.Cleanup(database.Close)
	o := server.DefaultOptions()
	o.PublicURL, o.SecretKey, o.RateLimits = s.url, signingKey, limits.ModeOff
	srv, err := server.New(database, o)
	must(s.t, err)
	return srv
}
