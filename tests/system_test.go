// Package tests has the end-to-end tests: a server and a worker on a database of their own, called
// through the generated client or by raw HTTP.
package tests

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/px360/px360/gen/client"
	"github.com/px360/px360/queries"
	"github.com/px360/px360/server"
	"github.com/px360/px360/tests/dbtest"
	"github.com/px360/px360/worker"
)

func TestMain(m *testing.M) { dbtest.Main(m) }

const (
	adminName     = "admin"
	adminPassword = "Secret-pass-360!"
	signingKey    = "a signing key of no use outside these tests"
)

// A system is a running PX360 with its own database.
type system struct {
	t     testing.TB
	url   string // of the server
	dbURL string
	db    *pgxpool.Pool // for direct access
	admin *client.Client
	log   *logBuffer

	registry *prometheus.Registry // of the server's metrics
}

// start runs a server and a worker until the end of the test, on an empty database with one PX
// Admin.
func start(t testing.TB, change ...func(*server.Options)) *system {
	t.Helper()
	s := startServer(t, change...)
	s.work(worker.DefaultOptions())
	return s
}

// startServer is start without a worker: events stay pending.
func startServer(t testing.TB, change ...func(*server.Options)) *system {
	t.Helper()
	return startServerOn(t, dbtest.New(t), change...)
}

// startServerOn is startServer on a database of the test's own.
func startServerOn(t testing.TB, dbURL string, change ...func(*server.Options)) *system {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s := &system{t: t, dbURL: dbURL, log: &logBuffer{}}
	database, err := queries.Open(ctx, s.dbURL, queries.DefaultOptions())
	must(t, err)
	s.db = database.Pool
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	s.url = "http://" + listener.Addr().String()
	s.registry = prometheus.NewRegistry()
	o := server.DefaultOptions()
	o.Registerer = s.registry
	o.PublicURL, o.SecretKey, o.RateLimits, o.Log = s.url, signingKey, "off", slog.New(slog.NewJSONHandler(s.log, nil))
	for _, f := range change {
		f(&o)
	}
	srv, err := server.New(database, o)
	must(t, err)
	_, err = srv.EnsureAdmin(ctx, adminName, adminPassword)
	must(t, err)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serve: %v", err)
		}
		database.Close()
		recordStatuses(t, s.registry)
	})
	s.admin = s.login(adminName, adminPassword)
	return s
}

// recordStatuses writes the metrics of a server to the directory PX360_TEST_STATUSES, if it is set: `make statuses` compares with
// the contract which statuses the tests have produced.
func recordStatuses(t testing.TB, registry *prometheus.Registry) {
	dir := os.Getenv("PX360_TEST_STATUSES")
	if dir == "" {
		return
	}
	file, err := os.CreateTemp(dir, "tests-*.prom")
	must(t, err)
	must(t, file.Close())
	must(t, prometheus.WriteToTextfile(file.Name(), registry))
}

// work runs a worker until the test ends.
func (s *system) work(o worker.Options) {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	database, err := queries.Open(ctx, s.dbURL, queries.DefaultOptions())
	must(s.t, err)
	o.Log = slog.New(slog.NewJSONHandler(s.log, nil))
	done := make(chan error, 1)
	go func() { done <- worker.New(database, o).Run(ctx) }()
	s.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			s.t.Errorf("work: %v", err)
		}
		database.Close()
	})
}

// client is a client that makes each request once. Without WithToken or WithAPIKey it sends no credentials.
func (s *system) client(options ...client.Option) *client.Client {
	s.t.Helper()
	c, err := client.New(s.url, append(options, client.WithMaxWait(0))...)
	must(s.t, err)
	return c
}

// as is a client with an access token.
func (s *system) as(token string) *client.Client { return s.client(client.WithToken(token)) }

// login is a client of the named user, who logs in this once.
func (s *system) login(username, password string) *client.Client {
	s.t.Helper()
	return s.as(s.token(username, password))
}

// token logs the user in and returns an access token.
func (s *system) token(username, password string) string {
	s.t.Helper()
	return try(s.client().CreateToken(context.Background(), client.TokenRequest{Username: username, Password: password})).ok(s.t).Access
}

// A reply is what a call of the client returned, checked in the expression that makes the call:
//
//	patient := try(px.RetrievePatient(ctx, id)).ok(t)
//	try(px.CreatePatient(ctx, body)).refused(t, 400, "mrn")
type reply[T any] struct {
	value *T
	err   error
}

func try[T any](value *T, err error) reply[T] { return reply[T]{value, err} }

// ok returns the value of a call that succeeded.
func (r reply[T]) ok(t testing.TB) *T {
	t.Helper()
	must(t, r.err)
	return r.value
}

// refused and refusedField are the functions of that name.

func (r reply[T]) refused(t testing.TB, status int, fields ...string) *client.Error {
	t.Helper()
	return refused(t, r.err, status, fields...)
}

func (r reply[T]) refusedField(t testing.TB, field, message string) {
	t.Helper()
	refusedField(t, r.err, field, message)
}

// refused expects a call to have failed with this status and, where fields are given, messages about these alone.
func refused(t testing.TB, err error, status int, fields ...string) *client.Error {
	t.Helper()
	e, ok := errors.AsType[*client.Error](err)
	if !ok {
		t.Errorf("the call failed with %v, want status %d", err, status)
		return &client.Error{}
	}
	if got := slices.Sorted(maps.Keys(e.Fields)); e.Status != status || len(fields) > 0 && !slices.Equal(got, slices.Sorted(slices.Values(fields))) {
		t.Errorf("%v, want status %d about %v", e, status, fields)
	}
	return e
}

// refusedField expects a call to have failed with a 400 whose one message is this, about this field.
func refusedField(t testing.TB, err error, field, message string) {
	t.Helper()
	if e := refused(t, err, http.StatusBadRequest, field); !slices.Equal(e.Fields[field], []string{message}) {
		t.Errorf("%v, want the message %q about %s", e, message, field)
	}
}

// An answer is the response to a request.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) json() map[string]any {
	var value map[string]any
	_ = json.Unmarshal([]byte(a.body), &value)
	return value
}

// send makes a request. A string body is sent unchanged, nil means no body, and any other value is
// sent as JSON.
func (s *system) send(method, path, token string, body any, header ...string) answer {
	s.t.Helper()
	var reader io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		reader = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		must(s.t, err)
		reader = bytes.NewReader(text)
	}
	req, err := http.NewRequest(method, s.url+path, reader)
	must(s.t, err)
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(req)
	must(s.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	must(s.t, err)
	return answer{res.StatusCode, res.Header, string(text)}
}

// create posts body and returns the new id.
func (s *system) create(token, path string, body map[string]any) uuid.UUID {
	s.t.Helper()
	a := s.send("POST", path, token, body)
	if a.status != http.StatusCreated {
		s.t.Fatalf("POST %s: %d %s", path, a.status, a.body)
	}
	id, err := uuid.Parse(fmt.Sprint(a.json()["id"]))
	must(s.t, err)
	return id
}

// waitForWorker waits until no event is pending.
func (s *system) waitForWorker() {
	s.t.Helper()
	dbtest.Eventually(s.t, "every event is processed", func() bool {
		var pending int
		must(s.t, s.db.QueryRow(context.Background(), "SELECT count(*) FROM events WHERE status = 'pending'").Scan(&pending))
		return pending == 0
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var serial atomic.Int64

// unique is text that no other call returns.
func unique(prefix string) string {
	return fmt.Sprintf("%s-%d-%d", prefix, time.Now().UnixNano()%1e9, serial.Add(1))
}
