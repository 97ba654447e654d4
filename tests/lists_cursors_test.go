package tests

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
)

// follow follows a list by cursors from its start, two rows a page, and back. It returns the ids of the way there.
func (l *list) follow(t testing.TB, query url.Values) (ids []any) {
	t.Helper()
	sent := url.Values{"page_size": {"2"}, "cursor": {""}}
	for name, values := range query {
		sent[name] = values
	}
	var pages, back [][]any
	link, last := l.path+"?"+sent.Encode(), fields(nil)
	for forward := true; ; {
		answer := l.expect(t, 200, "GET", link, l.px.access, nil)
		body := answer.json()
		if _, counts := body["count"]; counts {
			t.Fatalf("%s: %s has a count", link, answer.body)
		}
		var page []any
		for _, row := range body["results"].([]any) {
			page = append(page, row.(fields)["id"])
		}
		switch {
		case forward:
			pages = append(pages, page)
		default:
			back = append([][]any{page}, back...)
		}
		if forward && (body["previous"] == nil) != (len(pages) == 1) {
			t.Errorf("%s: page %d has previous %v", link, len(pages), body["previous"])
		}
		if !forward && body["next"] == nil {
			t.Errorf("%s: a page before others has no next", link)
		}
		last = body
		if forward && body["next"] == nil {
			forward = false
		}
		to := body["next"]
		if !forward {
			to = last["previous"]
		}
		if to == nil {
			break
		}
		at, err := url.Parse(to.(string))
		must(t, err)
		link = at.RequestURI()
	}
	for _, page := range pages {
		ids = append(ids, page...)
	}
	var there []any
	for _, page := range pages[:len(pages)-1] {
		there = append(there, page...)
	}
	var again []any
	for _, page := range back {
		again = append(again, page...)
	}
	if fmt.Sprint(again) != fmt.Sprint(there) {
		t.Errorf("%v: back from the end there are\n%v, want\n%v", query, again, there)
	}
	return ids
}

// tryCursors compares every ordering with that of the page numbers.
func (l *list) tryCursors(t *testing.T) {
	orderings := []string{""}
	for i, column := range l.columns {
		orderings = append(orderings, column, "-"+column)
		if i > 0 {
			orderings = append(orderings, column+",-"+l.columns[i-1], "-"+column+","+l.columns[i-1])
		}
	}
	for _, ordering := range orderings {
		query := url.Values{"ordering": {ordering}}
		if got, want := l.follow(t, query), ids(l.get(t, query)); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("ordered by %s, cursors lead to\n%v, want\n%v", ordering, got, want)
		}
	}
	// A cursor is of one list in one ordering.
	mine := l.expect(t, 200, "GET", l.path+"?cursor=&page_size=1", l.px.access, nil).json()
	next, err := url.Parse(mine["next"].(string))
	must(t, err)
	cursor := next.Query().Get("cursor")
	other := "/api/organizations/hospitals/"
	if l.id == "listHospitals" {
		other = "/api/organizations/departments/"
	}
	flipped := []byte(cursor)
	flipped[len(flipped)/2] ^= 1
	refused := []string{other + "?cursor=" + cursor, l.path + "?cursor=x", l.path + "?cursor=" + string(flipped), l.path + "?cursor=" + cursor[:len(cursor)-4], l.path + "?cursor=%20-", l.path + "?cursor=" + cursor + "AAAA"}
	if len(l.columns) > 0 {
		refused = append(refused, l.path+"?cursor="+cursor+"&ordering="+l.columns[0], l.path+"?cursor="+cursor+"&ordering=-"+l.columns[0])
	}
	for _, path := range refused {
		answer := l.expect(t, 400, "GET", path, l.px.access, nil)
		if got := strings.TrimSpace(answer.body); got != `{"detail":"Invalid cursor"}` {
			t.Errorf("%s: %s", path, got)
		}
	}
}

// Rows that come and go while a list is followed are neither met twice nor do they hide others.
func TestCursorsAreStable(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	for _, mrn := range []string{"B", "D", "F", "H"} {
		c.Patient(mrn)
	}
	path := "/api/organizations/patients/?ordering=mrn&page_size=2&cursor="
	read := func(link string) (mrns []string, next, previous any) {
		body := c.expect(t, 200, "GET", strings.TrimPrefix(link, c.url), c.admin.access, nil).json()
		for _, row := range body["results"].([]any) {
			mrns = append(mrns, row.(fields)["mrn"].(string))
		}
		return mrns, body["next"], body["previous"]
	}
	first, next, _ := read(path)
	c.Patient("A")
	c.Patient("C")
	c.Patient("E")
	c.exec("DELETE FROM patients WHERE mrn = 'D'") // the row that the cursor was made of
	second, _, previous := read(next.(string))
	before, _, _ := read(previous.(string))
	if got := fmt.Sprint(first, second, before); got != "[[B D] [E F] [B C]]" && got != "[B D] [E F] [B C]" {
		t.Errorf("read %s", got)
	}
	// A page number beside it is ignored, and a null in what orders is a place like any other.
	if got, _, _ := read(path + "&page=7"); !slices.Equal(got, []string{"A", "B"}) {
		t.Errorf("with a page number: %v", got)
	}
}

// Of many rows, pages are read by late row lookup, and those behind the middle from the end. Counts above 10,000 are kept
// for some seconds.
func TestLongLists(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	const rows = 10_250
	insert := func(from, to int) {
		s.exec(`INSERT INTO patients (id, mrn, first_name, last_name) SELECT gen_random_uuid(), lpad(i::text, 8, '0'), 'A', 'B' FROM generate_series($1::int, $2::int) i`, from, to)
	}
	insert(1, rows)
	s.exec("ANALYZE patients")
	t.Cleanup(func() { s.exec("TRUNCATE patients CASCADE") })
	token := s.token(adminName, adminPassword)
	page := func(number int, query string) (count any, mrns []string, next any) {
		t.Helper()
		body := s.expect(t, 200, "GET", fmt.Sprintf("/api/organizations/patients/?page_size=100&page=%d%s", number, query), token, nil).json()
		for _, row := range body["results"].([]any) {
			mrns = append(mrns, row.(fields)["mrn"].(string))
		}
		return body["count"], mrns, body["next"]
	}
	for _, descending := range []bool{false, true} {
		ordering := "&ordering=mrn"
		if descending {
			ordering = "&ordering=-mrn"
		}
		for _, number := range []int{1, 2, 30, 51, 52, 53, 102, 103} {
			count, mrns, next := page(number, ordering)
			if count != float64(rows) || (next == nil) != (number == 103) {
				t.Errorf("page %d of %s: count %v, next %v", number, ordering, count, next)
			}
			var want []string
			for i := range min(100, rows-100*(number-1)) {
				row := 100*(number-1) + i + 1
				if descending {
					row = rows + 1 - row
				}
				want = append(want, fmt.Sprintf("%08d", row))
			}
			if !slices.Equal(mrns, want) {
				t.Errorf("page %d of %s: %v to %v, want %v to %v", number, ordering, mrns[0], mrns[len(mrns)-1], want[0], want[len(want)-1])
			}
		}
		s.expect(t, 404, "GET", "/api/organizations/patients/?page_size=100&page=104"+ordering, token, nil)
	}
	// What is filtered to 10,000 and fewer is exact at once.
	insert(20_001, 20_001)
	s.exec("UPDATE patients SET city = 'X' WHERE mrn <= '00010000'")
	if count, _, _ := page(1, "&city=X"); count != float64(10_000) {
		t.Errorf("10,000 rows are counted as %v", count)
	}
	s.exec("UPDATE patients SET city = '' WHERE mrn = '00000001'")
	if count, _, _ := page(1, "&city=X"); count != float64(9_999) {
		t.Errorf("9,999 rows are counted as %v", count)
	}
}

// A long list is counted once for all who ask at the same time; who does not wait for it is told that the count is an estimate.
func TestCountsAreShared(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	const rows = 12_000
	s.exec(`INSERT INTO patients (id, mrn, first_name, last_name) SELECT gen_random_uuid(), 'MRN-' || i, 'A', 'B' FROM generate_series(1, $1::int) i`, rows)
	s.exec("ANALYZE patients")
	t.Cleanup(func() { s.exec("TRUNCATE patients CASCADE") })
	statements := &statementRecorder{}
	handler, token := statements.server(s), s.token(adminName, adminPassword)
	ask := func() *httptest.ResponseRecorder {
		request := httptest.NewRequest("GET", "/api/organizations/patients/?status=active", nil)
		request.Header.Set("Authorization", "Bearer "+token)
		response := httptest.NewRecorder()
		handler.ServeHTTP(response, request)
		return response
	}
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			response := ask()
			exact := strings.HasPrefix(response.Body.String(), fmt.Sprintf(`{"count":%d,`, rows))
			if told := response.Header().Get("X-Count-Estimated") == "true"; response.Code != 200 || exact == told && !exact {
				t.Errorf("%d, estimated %v: %.60s", response.Code, told, response.Body)
			}
		})
	}
	all.Wait()
	// By now it is known, and exact, until it is too old.
	if response := ask(); !strings.HasPrefix(response.Body.String(), fmt.Sprintf(`{"count":%d,`, rows)) || response.Header().Get("X-Count-Estimated") != "" {
		t.Errorf("%v: %.60s", response.Header(), response.Body)
	}
	counted := 0
	for _, statement := range statements.take() {
		if strings.HasPrefix(statement.SQL, "-- name: PatientList :many (count)") && !strings.Contains(statement.SQL, "LIMIT") {
			counted++
		}
	}
	if counted != 1 {
		t.Errorf("the list was counted %d times", counted)
	}
}

// While a long list cannot be counted, its count is what Postgres expects, and never less than is sure.
func TestCountIsEstimated(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	s.exec(`INSERT INTO patients (id, mrn, first_name, last_name) SELECT gen_random_uuid(), 'MRN-' || i, 'A', 'B' FROM generate_series(1, 12000) i`)
	s.exec("ANALYZE patients")
	t.Cleanup(func() { s.exec("TRUNCATE patients CASCADE") })
	o := queries.DefaultOptions()
	o.MaxConnections, o.ListConnections, o.AcquireTimeout = 3, 2, 50*time.Millisecond
	database, err := queries.Open(t.Context(), s.dbURL, o)
	must(t, err)
	defer database.Close()
	conn, err := database.Pool.Acquire(t.Context()) // the only one that counts could have
	must(t, err)
	find := func(ctx context.Context, q *db.Queries) ([]db.PatientListRow, error) {
		return q.PatientList(ctx, db.PatientListParams{})
	}
	page := queries.Page{Size: 20, MaxBytes: 1 << 20}
	estimated, err := queries.List(t.Context(), database, page, find)
	conn.Release()
	if err != nil || !estimated.IsEstimated || estimated.Total <= 10_000 || len(estimated.Rows) != 20 || !estimated.After {
		t.Errorf("%v: %d of %d rows, estimated %v, more %v", err, len(estimated.Rows), estimated.Total, estimated.IsEstimated, estimated.After)
	}
	counted, err := queries.List(t.Context(), database, page, find)
	if err != nil || counted.IsEstimated || counted.Total != 12_000 {
		t.Errorf("%v: %d rows, estimated %v", err, counted.Total, counted.IsEstimated)
	}
}

// A list that takes too long is given up, in Postgres too, and says what to do.
func TestTooSlowLists(t *testing.T) {
	t.Parallel()
	c := startServer(t).clinic()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, c.dbURL)
	must(t, err)
	defer conn.Close(ctx)
	tx, err := conn.Begin(ctx)
	must(t, err)
	_, err = tx.Exec(ctx, "LOCK TABLE surveys IN ACCESS EXCLUSIVE MODE") // what reads it waits
	must(t, err)
	for query, want := range map[string]string{
		"":                         "The query takes too long. Narrow the list by a filter or a longer search term.",
		"?ordering=due_at&page=2":  "The query takes too long. Narrow the list by a filter or a longer search term, leave out the ordering, or follow cursors instead of page numbers.",
		"?ordering=due_at&cursor=": "The query takes too long. Narrow the list by a filter or a longer search term, or leave out the ordering.",
	} {
		answer := c.expect(t, 503, "GET", "/api/surveys/instances/"+query, c.admin.access, nil)
		if got := strings.TrimSpace(answer.body); got != `{"detail":"`+want+`","code":"query_too_slow"}` || answer.header.Get("Retry-After") != "" {
			t.Errorf("%s: %s, Retry-After %q", query, got, answer.header.Get("Retry-After"))
		}
	}
	if left := value[int](c.system, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"); left != 0 {
		t.Errorf("%d statements still run", left)
	}
	// Who asks many of them has half of the connections for lists, and others the rest.
	var all sync.WaitGroup
	for range 12 {
		all.Go(func() {
			if status := c.send("GET", "/api/surveys/instances/", c.admin.access, nil).status; status != 503 {
				t.Errorf("answered with %d", status)
			}
		})
	}
	for busy := 0; busy < 2; {
		busy = value[int](c.system, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
	}
	c.expect(t, 200, "GET", "/api/organizations/patients/", c.px.access, nil)
	all.Wait()
	must(t, tx.Rollback(ctx))
	c.expect(t, http.StatusOK, "GET", "/api/surveys/instances/", c.admin.access, nil)
}
