package tests

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/px360/px360/gen/client"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/server"
	"github.com/px360/px360/server/limits"
	"github.com/px360/px360/tests/dbtest"
)

const (
	ownPath        = "/api/auth/users/me/"
	oneEventPath   = "/api/integrations/events/"
	manyEventsPath = "/api/integrations/events/bulk_create/"
	loginPath      = "/api/auth/token/"
)

// unreachableLimit is a limit that no test reaches.
var unreachableLimit = limits.Limit{Quota: 100_000, Window: time.Hour}

func perMinute(calls int64) limits.Limit { return limits.Limit{Quota: calls, Window: time.Minute} }
func perHour(calls int64) limits.Limit   { return limits.Limit{Quota: calls, Window: time.Hour} }

// withLimits enforces the given limits, and unreachableLimit for the others.
func withLimits(given limits.Limits) func(*server.Options) {
	return func(o *server.Options) {
		set := given // a copy for each server
		for _, l := range []*limits.Limit{&set.Events, &set.Auth, &set.User} {
			if *l == (limits.Limit{}) {
				*l = unreachableLimit
			}
		}
		if set.EventBytes == (limits.Limit{}) {
			set.EventBytes = limits.DefaultLimits().EventBytes
		}
		o.RateLimits, o.Limits = limits.ModeEnforce, set
	}
}

// secondServer is a second server on the same database, with an empty deny cache.
func (s *system) secondServer(change ...func(*server.Options)) *system {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	a := &system{t: s.t, dbURL: s.dbURL, log: &logBuffer{}}
	database, err := queries.Open(ctx, s.dbURL, queries.DefaultOptions())
	must(s.t, err)
	a.db = database.Pool
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(s.t, err)
	a.url = "http://" + listener.Addr().String()
	o := server.DefaultOptions()
	o.PublicURL, o.SecretKey, o.RateLimits, o.Log = a.url, signingKey, "off", slog.New(slog.NewJSONHandler(a.log, nil))
	for _, f := range change {
		f(&o)
	}
	srv, err := server.New(database, o)
	must(s.t, err)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, listener) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("serve: %v", err)
		}
		database.Close()
	})
	return a
}

// ageCalls makes every counted call so much older.
func (s *system) ageCalls(d time.Duration) {
	s.t.Helper()
	for _, statement := range []string{
		`UPDATE rate_limits SET expires_at = expires_at - $1::interval, refilled_at = refilled_at - $1::interval,
			oldest = ARRAY(SELECT c - $1::interval FROM unnest(oldest) c ORDER BY c),
			newest = ARRAY(SELECT c - $1::interval FROM unnest(newest) c ORDER BY c)`,
		`UPDATE rate_limit_blocks SET calls = ARRAY(SELECT c - $1::interval FROM unnest(calls) c ORDER BY c)`,
	} {
		_, err := s.db.Exec(context.Background(), statement, d)
		must(s.t, err)
	}
}

// expectTimes sends a request so many times and expects the same status each time.
func (s *system) expectTimes(status, times int, method, path, token string, body any, header ...string) (last answer) {
	s.t.Helper()
	for i := range times {
		last = s.send(method, path, token, body, header...)
		if last.status != status {
			s.t.Fatalf("%s %s, number %d: %d %s, want %d", method, path, i+1, last.status, last.body, status)
		}
	}
	return last
}

// wantRefused checks a 429 and returns its Retry-After in seconds.
func wantRefused(t testing.TB, a answer, atMost time.Duration) int {
	t.Helper()
	seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
	if a.status != http.StatusTooManyRequests || err != nil || seconds < 1 || seconds > int(atMost/time.Second) {
		t.Fatalf("%d %s with Retry-After %q, want 429 with at most %v", a.status, a.body, a.header.Get("Retry-After"), atMost)
	}
	plural := "s"
	if seconds == 1 {
		plural = ""
	}
	if want := fmt.Sprintf(`{"detail":"Request was throttled. Expected available in %d second%s."}`, seconds, plural); a.body != want {
		t.Errorf("%s, want %s", a.body, want)
	}
	return seconds
}

// wantLeft checks the RateLimit header, whose t may be anything from 1 to the window.
func wantLeft(t testing.TB, a answer, policy string, left int64, window time.Duration) {
	t.Helper()
	for member := range strings.SplitSeq(a.header.Get("RateLimit"), ", ") {
		var r int64
		var seconds int
		if n, _ := fmt.Sscanf(member, strconv.Quote(policy)+";r=%d;t=%d", &r, &seconds); n == 2 {
			if r != left || seconds < 1 || seconds > int(window/time.Second) {
				t.Errorf("RateLimit: %s, want r=%d and t up to %v", member, left, window)
			}
			return
		}
	}
	t.Errorf("RateLimit: %q of a %d has no member for %s", a.header.Get("RateLimit"), a.status, policy)
}

func sourceEvent(source string) map[string]any {
	return map[string]any{"source_system": source, "event_code": "X", "encounter_id": "E"}
}

func sourceBulk(sources ...string) map[string]any {
	list := []any{}
	for _, source := range sources {
		list = append(list, sourceEvent(source))
	}
	return map[string]any{"events": list}
}

func (s *system) eventRows() (count int) {
	s.t.Helper()
	must(s.t, s.db.QueryRow(context.Background(), "SELECT count(*) FROM events").Scan(&count))
	return count
}

// plainUser creates a user without roles through the API, of a hospital or of none, and returns the id and a token.
func (s *system) plainUser(hospital *uuid.UUID) (uuid.UUID, string) {
	s.t.Helper()
	body := newUser(password)
	if hospital != nil {
		body.Hospital = client.Value(*hospital)
	}
	made := try(s.admin.CreateUser(context.Background(), body)).ok(s.t)
	return made.ID, s.token(made.Username, password)
}

func (s *system) plainHospital() *uuid.UUID {
	s.t.Helper()
	return &try(s.admin.CreateHospital(context.Background(), client.HospitalCreate{Name: "Hospital", Code: unique("H")})).ok(s.t).ID
}

// plainKey creates a config through the API and returns its id and key.
func (s *system) plainKey(source string) (uuid.UUID, string) {
	s.t.Helper()
	made := try(s.admin.CreateIntegrationConfig(context.Background(), client.IntegrationConfigCreate{Name: "Config", SourceSystem: source})).ok(s.t)
	return made.ID, made.APIKey
}

// What a key reads counts under the limit of users, for its config alone, and takes nothing from what it sends.
func TestReadingWithAKeyCountsPerConfig(t *testing.T) {
	t.Parallel()
	s := startServer(t, withLimits(limits.Limits{User: perMinute(5), Events: perHour(10)}))
	_, one := s.plainKey("his")
	_, other := s.plainKey("his")
	s.expectTimes(http.StatusOK, 4, "GET", oneEventPath, "", nil, "X-API-Key", one)
	s.expectTimes(http.StatusNotFound, 1, "GET", oneEventPath+uuid.NewString()+"/", "", nil, "X-API-Key", one)
	wantRefused(t, s.send("GET", oneEventPath, "", nil, "X-API-Key", one), time.Minute)
	s.expectTimes(http.StatusOK, 1, "GET", oneEventPath, "", nil, "X-API-Key", other)
	wantLeft(t, s.expectTimes(http.StatusCreated, 1, "POST", oneEventPath, "", sourceEvent("his"), "X-API-Key", one), "events", 9, time.Hour)
}

func TestCallsAboveTheLimitAreRefused(t *testing.T) {
	t.Parallel()
	s := startServer(t, withLimits(limits.Limits{User: perMinute(100)}))
	token := s.token(adminName, adminPassword)
	for left := int64(99); left >= 0; left-- {
		a := s.expectTimes(http.StatusOK, 1, "GET", ownPath, token, nil)
		wantLeft(t, a, "user", left, time.Minute)
		if got := a.header.Get("RateLimit-Policy"); got != `"user";q=100;w=60` {
			t.Errorf("RateLimit-Policy: %s", got)
		}
		if a.header.Get("Retry-After") != "" {
			t.Error("Retry-After on a call that was admitted")
		}
	}
	for range 3 {
		a := s.send("GET", ownPath, token, nil)
		wantRefused(t, a, time.Minute)
		wantLeft(t, a, "user", 0, time.Minute)
	}
}

func TestSlidingWindow(t *testing.T) {
	t.Parallel()
	limits := withLimits(limits.Limits{User: perHour(5)})
	s := startServer(t, limits)
	token := s.token(adminName, adminPassword)
	s.expectTimes(http.StatusOK, 3, "GET", ownPath, token, nil)
	s.ageCalls(40 * time.Minute)
	s.expectTimes(http.StatusOK, 2, "GET", ownPath, token, nil)
	wantRefused(t, s.send("GET", ownPath, token, nil), 20*time.Minute)

	// After 20 minutes the first three calls have left the window, the other two have not. Refused calls
	// are not counted.
	s.secondServer(limits).expectTimes(http.StatusTooManyRequests, 10, "GET", ownPath, token, nil)
	s.ageCalls(20 * time.Minute)
	s = s.secondServer(limits)
	wantLeft(t, s.expectTimes(http.StatusOK, 3, "GET", ownPath, token, nil), "user", 0, 40*time.Minute)
	wait := wantRefused(t, s.send("GET", ownPath, token, nil), 40*time.Minute)

	// After Retry-After exactly the two calls have left the window.
	s.ageCalls(time.Duration(wait) * time.Second)
	s = s.secondServer(limits)
	s.expectTimes(http.StatusOK, 2, "GET", ownPath, token, nil)
	wantRefused(t, s.send("GET", ownPath, token, nil), 25*time.Minute)

	s.ageCalls(2 * time.Hour)
	wantLeft(t, s.secondServer(limits).expectTimes(http.StatusOK, 1, "GET", ownPath, token, nil), "user", 4, time.Hour)
}

func TestCachedRefusalExpires(t *testing.T) {
	t.Parallel()
	s := startServer(t, withLimits(limits.Limits{User: limits.Limit{Quota: 1, Window: time.Second}}))
	token := s.token(adminName, adminPassword)
	refused := func() bool { return s.send("GET", ownPath, token, nil).status == http.StatusTooManyRequests }
	dbtest.Eventually(t, "a call is refused", refused)
	dbtest.Eventually(t, "a call is admitted", func() bool { return !refused() })
}

func TestParallelCallsToTwoServersShareALimitExactly(t *testing.T) {
	t.Parallel()
	limits := withLimits(limits.Limits{User: perHour(100), Events: perHour(70)})
	s := startServer(t, limits)
	servers := []*system{s, s.secondServer(limits)}
	token := s.token(adminName, adminPassword)
	_, person := s.plainUser(s.plainHospital()) // costs two calls of the admin
	for _, test := range []struct {
		want         int
		method, path string
		body         any
		token        string
	}{
		{100, "GET", ownPath, nil, person},
		{70, "POST", oneEventPath, sourceEvent("his"), person},
		{98, "DELETE", ownPath, nil, token}, // method not allowed
	} {
		statuses := make([]int, 200)
		var group sync.WaitGroup
		for worker := range 20 {
			group.Go(func() {
				for i := worker; i < len(statuses); i += 20 {
					statuses[i] = servers[i%2].send(test.method, test.path, test.token, test.body).status
				}
			})
		}
		group.Wait()
		refused := slices.DeleteFunc(slices.Clone(statuses), func(status int) bool { return status != http.StatusTooManyRequests })
		if admitted := len(statuses) - len(refused); admitted != test.want {
			t.Errorf("%s %s: %d of %d were admitted, want %d: %v", test.method, test.path, admitted, len(statuses), test.want, statuses)
		}
	}
	if stored := s.eventRows(); stored != 70 {
		t.Errorf("%d events stored, want 70", stored)
	}
}

func TestLimitsArePerUser(t *testing.T) {
	t.Parallel()
	s := startServer(t, withLimits(limits.Limits{User: perHour(4)}))
	hospital := s.plainHospital()
	_, one := s.plainUser(hospital)
	_, two := s.plainUser(hospital)
	s.expectTimes(http.StatusOK, 4, "GET", ownPath, one, nil)
	s.expectTimes(http.StatusTooManyRequests, 1, "GET", ownPath, one, nil)
	s.expectTimes(http.StatusOK, 4, "GET", ownPath, two, nil)
}

func TestRateLimitOrderOfChecks(t *testing.T) {
	t.Parallel()
	limits := withLimits(limits.Limits{User: perHour(5)})
	s := startServer(t, limits)
	_, token := s.plainUser(s.plainHospital())

	// Errors have the RateLimit headers too, and count.
	const someone = "/api/organizations/hospitals/0193c5a0-7a00-7000-8000-000000000001/"
	wantLeft(t, s.expectTimes(http.StatusNotFound, 1, "GET", someone, token, nil), "user", 4, time.Hour)
	wantLeft(t, s.expectTimes(http.StatusBadRequest, 1, "GET", "/api/auth/users/?page_size=x", token, nil), "user", 3, time.Hour)
	wantLeft(t, s.expectTimes(http.StatusForbidden, 1, "DELETE", someone, token, nil), "user", 2, time.Hour)
	wantLeft(t, s.expectTimes(http.StatusMethodNotAllowed, 1, "DELETE", ownPath, token, nil), "user", 1, time.Hour)
	a := s.expectTimes(http.StatusUnauthorized, 1, "GET", ownPath, token+"x", nil)
	if a.header.Get("RateLimit") != "" || a.header.Get("RateLimit-Policy") == "" {
		t.Errorf("an unauthenticated call: %v", a.header)
	}
	s.expectTimes(http.StatusNoContent, 10, "OPTIONS", ownPath, token, nil)
	s.expectTimes(http.StatusOK, 1, "GET", ownPath, token, nil)
	for _, s := range []*system{s, s.secondServer(limits)} {
		for range 2 { // by the database, then by the cache
			s.expectTimes(http.StatusNotFound, 1, "GET", "/api/nothing/", token, nil)
			s.expectTimes(http.StatusNotAcceptable, 1, "GET", ownPath, token, nil, "Accept", "text/html")
			s.expectTimes(http.StatusUnauthorized, 1, "GET", ownPath, token+"x", nil)
			wantLeft(t, s.expectTimes(http.StatusForbidden, 1, "DELETE", someone, token, nil), "user", 0, time.Hour)
			wantRefused(t, s.send("GET", ownPath, token, nil), time.Hour)
			wantRefused(t, s.send("DELETE", ownPath, token, nil), time.Hour)
			wantRefused(t, s.send("GET", someone, token, nil), time.Hour)
			wantRefused(t, s.send("POST", "/api/auth/users/change_password/", token, "not JSON"), time.Hour)
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if a := s.expectTimes(http.StatusOK, 10, "GET", path, "", nil); a.header.Get("RateLimit") != "" || a.header.Get("RateLimit-Policy") != "" {
			t.Errorf("%s has a limit: %v", path, a.header)
		}
	}
}

func TestTokenOperationsShareALimitByAddress(t *testing.T) {
	t.Parallel()
	proxied := func(o *server.Options) { o.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")} }
	limits := withLimits(limits.Limits{Auth: perMinute(10)})
	s := startServer(t, limits, proxied)
	admin := s.token(adminName, adminPassword)
	call := func(s *system, path string, from ...string) answer {
		header := []string{}
		if len(from) > 0 {
			header = []string{"X-Forwarded-For", strings.Join(from, ", ")}
		}
		return s.send("POST", loginPath+path, "", map[string]string{"username": adminName, "password": "wrong", "refresh": "x", "token": admin}, header...)
	}
	for i, path := range []string{"", "refresh/", "verify/", "blacklist/", "", "refresh/", "verify/", "blacklist/", "verify/"} {
		a := call(s, path, "203.0.113.1")
		if a.status == http.StatusTooManyRequests {
			t.Fatalf("%s, number %d: %s", path, i+1, a.body)
		}
		wantLeft(t, a, "auth", int64(9-i), time.Minute)
	}
	wantLeft(t, s.expectTimes(http.StatusMethodNotAllowed, 1, "GET", loginPath, "", nil, "X-Forwarded-For", "203.0.113.1"), "auth", 0, time.Minute)
	for _, path := range []string{"", "refresh/", "verify/", "blacklist/"} {
		a := call(s, path, "203.0.113.1")
		wantRefused(t, a, time.Minute)
		if got := a.header.Get("RateLimit-Policy"); got != `"auth";q=10;w=60` {
			t.Errorf("RateLimit-Policy: %s", got)
		}
	}
	// Only the address that the proxy appended counts; those to the left of it are set by the
	// client.
	wantRefused(t, call(s, "verify/", "198.51.100.9", "203.0.113.1"), time.Minute)
	if a := call(s, "verify/", "203.0.113.2"); a.status != http.StatusOK {
		t.Errorf("another address: %d %s", a.status, a.body)
	}
	for i := range 11 { // an IPv6 /64 counts as one client
		a := call(s, "verify/", fmt.Sprintf("2001:db8::%d", i+1))
		if refused := a.status == http.StatusTooManyRequests; refused != (i == 10) {
			t.Errorf("%d: %d", i+1, a.status)
		}
	}

	// Without trusted proxies the peer address counts, including the two logins from here.
	direct := s.secondServer(limits)
	for i := range 8 {
		if a := call(direct, "verify/", fmt.Sprintf("203.0.113.%d", 10+i)); a.status != http.StatusOK {
			t.Fatalf("call %d from here: %d %s", i+3, a.status, a.body)
		}
	}
	wantRefused(t, call(direct, "verify/", "203.0.113.99"), time.Minute)
	wantRefused(t, call(direct, "", "203.0.113.98"), time.Minute)
}

func TestReportMode(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	s := startServer(t, withLimits(limits.Limits{User: perHour(3), Events: perHour(2)}), func(o *server.Options) {
		o.RateLimits, o.Registerer = "report", registry
	})
	token := s.token(adminName, adminPassword)
	wantLeft(t, s.expectTimes(http.StatusOK, 10, "GET", ownPath, token, nil), "user", 0, time.Hour)
	wantLeft(t, s.expectTimes(http.StatusCreated, 6, "POST", oneEventPath, token, sourceEvent("his")), "events", 0, time.Hour)
	if stored := s.eventRows(); stored != 6 {
		t.Errorf("%d events stored, want 6", stored)
	}
	counted := map[string]float64{} // by mode and policy
	families, err := registry.Gather()
	must(t, err)
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if family.GetName() == "px360_rate_limited_total" {
				counted[metric.GetLabel()[0].GetValue()+" "+metric.GetLabel()[1].GetValue()] = metric.GetCounter().GetValue()
			}
		}
	}
	if want := map[string]float64{"report user": 7, "report events": 4}; !maps.Equal(counted, want) {
		t.Errorf("counted %v, want %v", counted, want)
	}
	if lines := strings.Count(s.log.String(), "over the rate limit"); lines != 2 {
		t.Errorf("%d lines in the log, want one for each key", lines)
	}
}

func TestRateLimitsOff(t *testing.T) {
	t.Parallel()
	s := startServer(t, withLimits(limits.Limits{User: perHour(1), Auth: perHour(1), Events: perHour(1)}), func(o *server.Options) { o.RateLimits = "off" })
	token := s.token(adminName, adminPassword)
	for _, a := range []answer{s.expectTimes(http.StatusOK, 3, "GET", ownPath, token, nil), s.expectTimes(http.StatusCreated, 3, "POST", oneEventPath, token, sourceEvent("his"))} {
		if a.header.Get("RateLimit") != "" || a.header.Get("RateLimit-Policy") != "" {
			t.Errorf("%v", a.header)
		}
	}
}

func TestIdleKeysAreDeleted(t *testing.T) {
	t.Parallel()
	limits := withLimits(limits.Limits{})
	s := startServer(t, limits)
	token := s.token(adminName, adminPassword)
	s.expectTimes(http.StatusOK, 200, "GET", ownPath, token, nil)
	s.ageCalls(2 * time.Hour)
	s.expectTimes(http.StatusCreated, 1, "POST", oneEventPath, token, sourceEvent("his"))
	rows := func(table string) (keys []string) {
		found, err := s.db.Query(context.Background(), "SELECT key FROM "+table+" ORDER BY key")
		must(t, err)
		defer found.Close()
		for found.Next() {
			var key string
			must(t, found.Scan(&key))
			keys = append(keys, strings.Fields(key)[0])
		}
		return keys
	}
	if got := rows("rate_limit_blocks"); !slices.Contains(got, "user") {
		t.Fatalf("200 calls have no blocks: %v", got)
	}
	_, err := db.New(s.db).RateLimitExpire(context.Background(), 100) // as workers do
	must(t, err)
	if !slices.Equal(rows("rate_limits"), []string{"events", "sender", "source"}) || len(rows("rate_limit_blocks")) != 0 {
		t.Errorf("%v with blocks %v are left", rows("rate_limits"), rows("rate_limit_blocks"))
	}
}

func TestTruncatedTablesResetWindows(t *testing.T) {
	t.Parallel()
	limits := withLimits(limits.Limits{User: perHour(150)})
	for _, truncated := range []string{"rate_limits", "rate_limit_blocks", "rate_limits, rate_limit_blocks"} {
		t.Run(truncated, func(t *testing.T) {
			t.Parallel()
			s := startServer(t, limits)
			token := s.token(adminName, adminPassword)
			s.expectTimes(http.StatusOK, 150, "GET", ownPath, token, nil)
			_, err := s.db.Exec(context.Background(), "TRUNCATE "+truncated)
			must(t, err)
			s.ageCalls(2 * time.Hour)
			s = s.secondServer(limits)
			s.expectTimes(http.StatusOK, 150, "GET", ownPath, token, nil)
			s.expectTimes(http.StatusTooManyRequests, 1, "GET", ownPath, token, nil)
		})
	}
}
