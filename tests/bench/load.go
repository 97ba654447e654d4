package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/valyala/fasthttp"

	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/tests/fixtures"
)

const password = "Bench-pass-360!"

// An api is a client of the program under test, with the ids of the rows that the load uses.
type api struct {
	url, token string
	http       *fasthttp.Client
	hospital   string
	journeys   []string // ids
	encounters []string
	mrns       []string
}

func ready(url string) bool {
	status, _, err := fasthttp.GetTimeout(nil, url+"/readyz", time.Second)
	return err == nil && status == 200
}

// call sends a request and decodes the answer into result, unless that is nil.
func (a *api) call(method, path string, body, result any) error {
	req, res := fasthttp.AcquireRequest(), fasthttp.AcquireResponse()
	defer fasthttp.ReleaseRequest(req)
	defer fasthttp.ReleaseResponse(res)
	req.Header.SetMethod(method)
	req.SetRequestURI(a.url + path)
	if a.token != "" {
		req.Header.Set("Authorization", "Bearer "+a.token)
	}
	if body != nil {
		req.Header.SetContentType("application/json")
		if raw, ok := body.([]byte); ok {
			req.SetBodyRaw(raw)
		} else {
			text, err := json.Marshal(body)
			if err != nil {
				return err
			}
			req.SetBodyRaw(text)
		}
	}
	if err := a.http.Do(req, res); err != nil {
		return err
	}
	if res.StatusCode() >= 300 {
		return fmt.Errorf("%s %s: %d %s", method, path, res.StatusCode(), res.Body())
	}
	if result == nil {
		return nil
	}
	return json.Unmarshal(res.Body(), result)
}

// as is the same API with another user and another URL.
func (a *api) as(url, token string) *api {
	other := *a
	other.url, other.token = url, token
	return &other
}

type object = map[string]any

// create posts body and returns the new row's id.
func (a *api) create(path string, body object) (string, error) {
	var made struct{ ID string }
	err := a.call("POST", path, body, &made)
	return made.ID, err
}

func (a *api) logIn(username string) (token string, err error) {
	var tokens struct{ Access string }
	err = a.call("POST", "/api/auth/token/", object{"username": username, "password": password}, &tokens)
	return tokens.Access, err
}

// codes are the event codes of one journey, one for each stage.
var codes = []string{"OPD_VISIT_COMPLETED", "LAB_ORDER_COMPLETED", "RAD_ORDER_COMPLETED", "PHARMACY_DISPENSED"}

// prepare creates a hospital with a journey template of four stages, and patients with a journey
// each.
func prepare(pool *pgxpool.Pool, url string, journeys int) (*api, error) {
	a := &api{url: url, http: &fasthttp.Client{MaxConnsPerHost: 256}}
	var err error
	if a.token, err = a.logIn("admin"); err != nil {
		return nil, err
	}
	var failed firstError
	h := fixtures.NewHospital(&failed, pool, func(p *db.HospitalInsertParams) { p.Name, p.Code = "Bench", "BENCH" })
	a.hospital = h.ID.String()
	department, survey, template := h.Department("OPD"), h.Survey(), h.Template()
	h.Physician("PHY", func(p *db.PhysicianInsertParams) { p.Department = &department })
	for i, code := range codes {
		h.Stage(template, i+1, func(p *db.StageTemplateInsertParams) {
			p.Name, p.Code, p.TriggerEventCode, p.SurveyTemplate, p.SurveyDelayHours = code, code, code, &survey, 2
			p.RequiresPhysician, p.RequiresDepartment, p.AutoSendSurvey = i == 0, i == 0, i == 0
		})
	}
	for i, id := range h.Journeys(template, journeys) {
		a.journeys = append(a.journeys, id.String())
		a.encounters, a.mrns = append(a.encounters, fmt.Sprint("ENC-", i+1)), append(a.mrns, fmt.Sprint("MRN-", i+1))
	}
	if failed.error != nil {
		return nil, failed.error
	}
	_, err = pool.Exec(context.Background(), "ANALYZE")
	return a, err
}

// firstError implements fixtures.TB and records the first error.
type firstError struct{ error }

func (*firstError) Helper() {}

func (f *firstError) Fatal(args ...any) {
	if f.error == nil {
		f.error = errors.New(fmt.Sprint(args...))
	}
}

// event is the event that completes a stage of journey i.
func (a *api) event(i, stage int) object {
	return object{"source_system": "his", "event_code": codes[stage], "encounter_id": a.encounters[i], "patient_identifier": a.mrns[i],
		"payload_json": object{"physician_license": "PHY", "department_code": "OPD", "visit_date": "2025-12-14", "visit_time": "10:30:00", "timestamp": "2025-12-14T10:45:00Z"}}
}

// each runs f for every index with so many workers, and returns the first error.
func each(ctx context.Context, workers, n int, f func(int) error) error {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var wait sync.WaitGroup
	for range workers {
		wait.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n || failed.Load() != nil || ctx.Err() != nil {
					return
				}
				if err := f(i); err != nil {
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wait.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return ctx.Err()
}

// rate runs f on all connections for the duration of a measurement and returns the calls per second.
// f gets the number of its connection and of its call.
func (b *bench) rate(f func(connection, call int) error) (float64, error) {
	var done atomic.Int64
	var failed atomic.Pointer[error]
	var wait sync.WaitGroup
	start := time.Now()
	end := start.Add(time.Duration(b.seconds * float64(time.Second)))
	for connection := range b.connections {
		wait.Go(func() {
			for call := 0; time.Now().Before(end) && failed.Load() == nil && b.ctx.Err() == nil; call++ {
				if err := f(connection, call); err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
				done.Add(1)
			}
		})
	}
	wait.Wait()
	if err := failed.Load(); err != nil {
		return 0, *err
	}
	return float64(done.Load()) / time.Since(start).Seconds(), b.ctx.Err()
}
