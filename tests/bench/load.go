package main

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

const password = "Bench-pass-360!"

// An api is the program under test as its clients see it, with the rows that the load asks for.
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

// call sends one request and reads its answer into result, if there is one to read.
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

// as is the same API, asked by another user and perhaps at another address.
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

// codes are the events of one journey, each of which completes a stage.
var codes = []string{"OPD_VISIT_COMPLETED", "LAB_ORDER_COMPLETED", "RAD_ORDER_COMPLETED", "PHARMACY_DISPENSED"}

// prepare makes a hospital with a journey template of four stages, and patients with a journey each.
func prepare(ctx context.Context, url string, journeys int) (*api, error) {
	a := &api{url: url, http: &fasthttp.Client{MaxConnsPerHost: 256}}
	var err error
	if a.token, err = a.logIn("admin"); err != nil {
		return nil, err
	}
	step := func(path string, body object) string {
		if err != nil {
			return ""
		}
		var id string
		id, err = a.create(path, body)
		return id
	}
	a.hospital = step("/api/organizations/hospitals/", object{"name": "Bench", "code": "BENCH"})
	department := step("/api/organizations/departments/", object{"hospital": a.hospital, "name": "OPD", "code": "OPD"})
	step("/api/organizations/physicians/", object{"hospital": a.hospital, "department": department, "first_name": "Ahmed", "last_name": "Saud", "license_number": "PHY", "specialization": "Medicine"})
	survey := step("/api/surveys/templates/", object{"hospital": a.hospital, "name": "Visit"})
	template := step("/api/journeys/templates/", object{"hospital": a.hospital, "name": "OPD", "journey_type": "opd"})
	for i, code := range codes {
		step("/api/journeys/stage-templates/", object{"journey_template": template, "name": code, "code": code, "order": i, "trigger_event_code": code,
			"requires_physician": i == 0, "requires_department": i == 0, "auto_send_survey": i == 0, "survey_template": survey, "survey_delay_hours": 2})
	}
	if err != nil {
		return nil, err
	}
	a.journeys, a.encounters, a.mrns = make([]string, journeys), make([]string, journeys), make([]string, journeys)
	return a, each(ctx, 8, journeys, func(i int) error {
		if i%250 == 0 {
			progress("journey %d of %d", i, journeys)
		}
		a.mrns[i], a.encounters[i] = fmt.Sprintf("MRN-%06d", i), fmt.Sprintf("ENC-%06d", i)
		patient, err := a.create("/api/organizations/patients/", object{"primary_hospital": a.hospital, "mrn": a.mrns[i], "first_name": "Mohammed", "last_name": fmt.Sprintf("Ali%d", i), "gender": "male", "city": "Riyadh"})
		if err != nil {
			return err
		}
		a.journeys[i], err = a.create("/api/journeys/instances/", object{"hospital": a.hospital, "department": department, "journey_template": template, "patient": patient, "encounter_id": a.encounters[i]})
		return err
	})
}

// event is what journey i's hospital systems send at its stage-th stage.
func (a *api) event(i, stage int) object {
	return object{"source_system": "his", "event_code": codes[stage], "encounter_id": a.encounters[i], "patient_identifier": a.mrns[i],
		"payload_json": object{"physician_license": "PHY", "department_code": "OPD", "visit_date": "2025-12-14", "visit_time": "10:30:00", "timestamp": "2025-12-14T10:45:00Z"}}
}

// each runs f for every index with so many at a time, and returns the first error.
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

// rate runs f on so many connections for so long, and returns how often a second it finished. f gets
// the number of its connection and of its call.
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
