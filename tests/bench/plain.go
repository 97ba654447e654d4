package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/queries"
)

// plainCommand makes this program a peer: a server of net/http and pgx that asks the same questions of the same tables,
// and does nothing else: no authentication, limits, validation, audit or log, and one statement for each event. It is what
// the language can do here.
const plainCommand = "plain-server"

// servePlain serves at the address until it is killed.
func servePlain(address, database string) error {
	pool, err := queries.Open(context.Background(), database, queries.DefaultOptions())
	if err != nil {
		return err
	}
	answer := func(f func(r *http.Request, q *db.Queries) (any, error)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			found, err := f(r, db.New(pool.Pool))
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			var text bytes.Buffer
			if err := json.NewEncoder(&text).Encode(found); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(text.Bytes())
		}
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", answer(func(r *http.Request, _ *db.Queries) (any, error) { return "ready", pool.Pool.Ping(r.Context()) }))
	mux.HandleFunc("GET /users/{id}", answer(func(r *http.Request, q *db.Queries) (any, error) {
		return q.UserGet(r.Context(), db.UserGetParams{ID: uuid.MustParse(r.PathValue("id"))})
	}))
	mux.HandleFunc("GET /progress/{id}", answer(func(r *http.Request, q *db.Queries) (any, error) {
		return q.JourneyProgress(r.Context(), db.JourneyProgressParams{ID: uuid.MustParse(r.PathValue("id"))})
	}))
	mux.HandleFunc("GET /patients", answer(func(r *http.Request, _ *db.Queries) (any, error) {
		hospital := uuid.MustParse(r.URL.Query().Get("hospital"))
		page := struct {
			Count   int64
			Results []db.PatientListRow
		}{}
		if err := pool.Pool.QueryRow(r.Context(), "SELECT count(*) FROM patients WHERE primary_hospital_id = $1", hospital).Scan(&page.Count); err != nil {
			return nil, err
		}
		rows, err := pool.Pool.Query(r.Context(), `
			SELECT p.id, p.address, p.city, p.created_at, p.date_of_birth, p.email, p.first_name, p.first_name_ar, p.full_name, p.gender,
				p.language, p.last_name, p.last_name_ar, p.mrn, p.national_id, p.phone, p.primary_hospital_id, h.name, p.status, p.survey_opt_out, p.updated_at
			FROM patients p LEFT JOIN hospitals h ON h.id = p.primary_hospital_id WHERE p.primary_hospital_id = $1
			ORDER BY p.last_name, p.first_name, p.id LIMIT 50`, hospital)
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		for rows.Next() {
			var p db.PatientListRow
			if err := rows.Scan(&p.ID, &p.Address, &p.City, &p.CreatedAt, &p.DateOfBirth, &p.Email, &p.FirstName, &p.FirstNameAr, &p.FullName, &p.Gender,
				&p.Language, &p.LastName, &p.LastNameAr, &p.Mrn, &p.NationalID, &p.Phone, &p.PrimaryHospital, &p.PrimaryHospitalName, &p.Status, &p.SurveyOptOut, &p.UpdatedAt); err != nil {
				return nil, err
			}
			page.Results = append(page.Results, p)
		}
		return page, rows.Err()
	}))
	mux.HandleFunc("POST /events", answer(func(r *http.Request, _ *db.Queries) (any, error) {
		var e struct {
			SourceSystem      string          `json:"source_system"`
			EventCode         string          `json:"event_code"`
			EncounterID       string          `json:"encounter_id"`
			PatientIdentifier string          `json:"patient_identifier"`
			Payload           json.RawMessage `json:"payload_json"`
		}
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
			return nil, err
		}
		id := uuid.Must(uuid.NewV7())
		var at time.Time
		err := pool.Pool.QueryRow(r.Context(), columns+"VALUES ($1, $2, $3, $4, $5, $6, 'user', $1) RETURNING received_at",
			id, e.SourceSystem, e.EventCode, e.EncounterID, e.PatientIdentifier, e.Payload).Scan(&at)
		return map[string]any{"id": id, "encounter_id": e.EncounterID, "event_code": e.EventCode, "source_system": e.SourceSystem, "received_at": at, "status": "pending"}, err
	}))
	return http.ListenAndServe(address, mux)
}

// launchPlain starts the peer on the program's database.
func (b *bench) launchPlain() (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := listener.Addr().String()
	listener.Close()
	run := exec.CommandContext(b.ctx, self, plainCommand, address, b.pg.URL(b.database))
	run.Stderr = os.Stderr
	if err := run.Start(); err != nil {
		return nil, err
	}
	p := &process{url: "http://" + address, stop: func() {
		_ = run.Process.Kill()
		_ = run.Wait()
	}}
	for deadline := time.Now().Add(10 * time.Second); !ready(p.url); {
		if time.Now().After(deadline) {
			p.stop()
			return nil, errors.New("the plain server was not ready within 10 s")
		}
		if err := pause(b.ctx, 20*time.Millisecond); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// beside is an operation of the program and the same question to the plain server. The slices have a value for each round.
type beside struct {
	name           string
	program, plain func(a *api, connection, call int) error
	ours, peers    []float64 // requests per second
	wanted         int       // percent of the plain server
}

func (b *bench) prepareBeside() error {
	var me struct{ ID string }
	if err := b.api.call("GET", "/api/auth/users/me/", nil, &me); err != nil {
		return err
	}
	event := text(func() object {
		o := b.api.event(0, 0)
		o["event_code"] = "NO_STAGE"
		return o
	}())
	journey := func(a *api, connection, call int) string { return a.journeys[(connection*7919+call)%len(a.journeys)] }
	b.besides = []*beside{
		{name: "beside plain Go: users/me", wanted: 60,
			program: func(a *api, _, _ int) error { return a.call("GET", "/api/auth/users/me/", nil, nil) },
			plain:   func(a *api, _, _ int) error { return a.call("GET", "/users/"+me.ID, nil, nil) }},
		{name: "beside plain Go: journey progress", wanted: 60,
			program: func(a *api, i, n int) error {
				return a.call("GET", "/api/journeys/instances/"+journey(a, i, n)+"/progress/", nil, nil)
			},
			plain: func(a *api, i, n int) error { return a.call("GET", "/progress/"+journey(a, i, n), nil, nil) }},
		{name: "beside plain Go: patients, page of 50", wanted: 100,
			program: func(a *api, _, _ int) error {
				return a.call("GET", "/api/organizations/patients/?page_size=50&primary_hospital="+a.hospital, nil, nil)
			},
			plain: func(a *api, _, _ int) error { return a.call("GET", "/patients?hospital="+a.hospital, nil, nil) }},
		{name: "beside plain Go: one event", wanted: 100,
			program: func(a *api, _, _ int) error { return a.call("POST", "/api/integrations/events/", event, nil) },
			plain:   func(a *api, _, _ int) error { return a.call("POST", "/events", event, nil) }},
	}
	return nil
}

// measureBeside measures one round, the program and its peer in turn.
func (b *bench) measureBeside(o *beside, program, plain *process) error {
	ours, theirs := b.api.as(program.url, b.api.token), b.api.as(plain.url, "")
	rate, err := b.rate(func(connection, call int) error { return o.program(ours, connection, call) })
	if err != nil {
		return err
	}
	o.ours = append(o.ours, rate)
	if err := b.waitForWorker(); err != nil {
		return err
	}
	if rate, err = b.rate(func(connection, call int) error { return o.plain(theirs, connection, call) }); err != nil {
		return err
	}
	o.peers = append(o.peers, rate)
	return b.waitForWorker()
}

func (b *bench) printBeside(out io.Writer) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\n\tPX360 /s\tplain Go server /s\tratio\twanted\t\n")
	for _, o := range b.besides {
		if len(o.peers) == 0 {
			continue
		}
		fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%.0f %%\t%d %%\t\n", o.name, median(o.ours), median(o.peers), 100*median(o.ours)/median(o.peers), o.wanted)
	}
	w.Flush()
}
