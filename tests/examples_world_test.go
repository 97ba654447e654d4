package tests

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/px360/px360/openapi"
)

// An operation of the contract, with where it is.
type exampleOperation struct {
	*openapi3.Operation
	method, path string
}

// exampleOperations are the contract's operations by their ids.
func exampleOperations(t testing.TB) (*openapi3.T, map[string]exampleOperation) {
	t.Helper()
	doc, err := openapi.Load()
	must(t, err)
	operations := map[string]exampleOperation{}
	for path, item := range doc.Paths.Map() {
		for method, o := range item.Operations() {
			operations[o.OperationID] = exampleOperation{o, method, path}
		}
	}
	return doc, operations
}

// request is the documented request, nil if the operation takes no body.
func (o exampleOperation) request() any {
	if o.RequestBody == nil {
		return nil
	}
	return o.RequestBody.Value.Content["application/json"].Example
}

// response is the documented answer with this status.
func (o exampleOperation) response(status int) *openapi3.MediaType {
	if response := o.Responses.Status(status); response != nil {
		return response.Value.Content["application/json"]
	}
	return nil
}

// successes are the documented statuses below 300.
func (o exampleOperation) successes() []int {
	var statuses []int
	for text := range o.Responses.Map() {
		var status int
		if _, err := fmt.Sscan(text, &status); err == nil && status < 300 {
			statuses = append(statuses, status)
		}
	}
	slices.Sort(statuses)
	return statuses
}

// object is the example's id of the thing that the path names.
func (o exampleOperation) object() string {
	for _, status := range o.successes() {
		if media := o.response(status); media != nil {
			example, _ := media.Example.(map[string]any)
			for _, name := range []string{"id", "journey_id"} {
				if id, ok := example[name].(string); ok {
					return id
				}
			}
		}
	}
	return ""
}

// The ids of things in the contract's examples begin so. Roles are real ones, seeded.
const exampleID = "0193c5a0-7a00-7000-8000-0000000000"

// A sample is a system with one of everything that the contract shows, made by sending the contract's
// own examples in the order in which one thing needs the other.
type sample struct {
	*system
	operations map[string]exampleOperation
	token      string
	real       map[string]string // what stands for an example's id or secret
	done       map[string]bool   // operation and status, such as "createUser 201"
	digest     string            // the query of fingerprint
}

func newSample(s *system) *sample {
	s.t.Helper()
	_, operations := exampleOperations(s.t)
	login := s.send(http.MethodPost, "/api/auth/token/", "", map[string]string{"username": adminName, "password": adminPassword}).json()
	m := &sample{system: s, operations: operations, token: login["access"].(string), real: map[string]string{}, done: map[string]bool{}}
	for _, o := range operations { // in the place of every token that an example shows
		if example, ok := o.request().(map[string]any); ok {
			for _, member := range []string{"refresh", "token"} {
				if shown, ok := example[member].(string); ok {
					m.real[shown] = login["refresh"].(string)
				}
			}
		}
	}
	m.real["your_password"] = adminPassword
	// A department names its manager, and a user a department: the first manager is the PX Admin.
	user := operations["retrieveUser"].object()
	m.real[user] = s.send(http.MethodGet, "/api/auth/users/me/", m.token, nil).json()["id"].(string)
	m.create("createHospital")
	m.create("createDepartment")
	delete(m.real, user)
	for _, id := range []string{
		"createUser", "createPhysician", "createPatient", "createSurveyTemplate", "createJourneyTemplate", "createStageTemplate",
		"createStageTemplate", // so that one event does not complete the journey
		"createJourneyInstance", "createStageInstance", "createIntegrationConfig", "createEvent",
	} {
		m.create(id)
	}
	for _, id := range slices.Sorted(maps.Keys(operations)) { // what the contract has beside those
		if o := operations[id]; o.response(http.StatusCreated) != nil && o.object() != "" && !m.done[id+" 201"] {
			m.create(id)
		}
	}
	return m
}

// create sends the example of an operation that makes something, and returns the id of what it made.
// The first of its kind stands for the example's id from then on; the later ones are unlike it where
// rows must differ.
func (m *sample) create(operation string) string {
	m.t.Helper()
	o := m.operations[operation]
	body := m.body(o)
	if m.done[operation+" 201"] {
		makeUnique(body)
	}
	if operation == "createStageInstance" { // the journey has all stages that there were when it began
		body.(map[string]any)["stage_template"] = m.create("createStageTemplate")
	}
	made := m.call(o, "", body, http.StatusCreated).json()
	id, _ := made["id"].(string)
	if _, known := m.real[o.object()]; !known {
		m.real[o.object()] = id
	}
	m.learnStage(made)
	return id
}

// learnStage finds in a new journey the stage that the examples speak of: the copy of their stage
// template.
func (m *sample) learnStage(journey map[string]any) {
	shown, template := m.operations["retrieveStageInstance"].object(), m.operations["retrieveStageTemplate"].object()
	stages, _ := journey["stage_instances"].([]any)
	for _, stage := range stages {
		if s := stage.(map[string]any); m.real[shown] == "" && s["stage_template"] == m.real[template] {
			m.real[shown] = s["id"].(string)
		}
	}
}

// uniqueMembers are those whose value no two rows share.
var uniqueMembers = []string{"username", "code", "mrn", "license_number", "encounter_id", "api_key", "source_event_id"}

func makeUnique(body any) {
	members, _ := body.(map[string]any)
	for _, name := range uniqueMembers {
		if _, found := members[name]; found {
			members[name] = unique(name)
		}
	}
}

// body is the operation's example with real ids in it, a copy of its own.
func (m *sample) body(o exampleOperation) any {
	m.t.Helper()
	if o.request() == nil {
		return nil
	}
	return m.realised(decode([]byte(jsonText(o.request()))))
}

func (m *sample) realised(data any) any {
	switch d := data.(type) {
	case string:
		return m.realText(d)
	case []any:
		for i := range d {
			d[i] = m.realised(d[i])
		}
	case map[string]any:
		for name := range d {
			d[name] = m.realised(d[name])
		}
	}
	return data
}

func (m *sample) realText(text string) string {
	if real, found := m.real[text]; found {
		return real
	}
	if strings.HasPrefix(text, exampleID) {
		m.t.Fatalf("an example refers to %s, which nothing made", text)
	}
	return text
}

// pathTo is the operation's path with the id in it; without one, that of the example.
func (m *sample) pathTo(o exampleOperation, id string) string {
	if !strings.Contains(o.path, "{id}") {
		return o.path
	}
	if id == "" {
		example := o.object()
		if example == "" {
			example = m.get(o.path).object()
		}
		id = m.realText(example)
	}
	return strings.ReplaceAll(o.path, "{id}", id)
}

// get is the operation that reads what is at the path.
func (m *sample) get(path string) exampleOperation {
	for _, o := range m.operations {
		if o.path == path && o.method == http.MethodGet {
			return o
		}
	}
	m.t.Fatalf("nothing reads %s", path)
	return exampleOperation{}
}

// call sends a request and compares the answer with the documented one.
func (m *sample) call(o exampleOperation, id string, body any, status int) answer {
	m.t.Helper()
	return m.callAs(m.token, o, id, body, status)
}

func (m *sample) callAs(token string, o exampleOperation, id string, body any, status int) answer {
	m.t.Helper()
	a := m.send(o.method, m.pathTo(o, id), token, body)
	if a.status != status {
		m.t.Fatalf("%s: answered %d %s, want %d", o.OperationID, a.status, a.body, status)
	}
	m.done[fmt.Sprintf("%s %d", o.OperationID, status)] = true
	documented := o.response(status)
	if documented == nil {
		if a.body != "" {
			m.t.Errorf("%s: %d is documented without a body, has %s", o.OperationID, status, a.body)
		}
		return a
	}
	var got any
	must(m.t, json.Unmarshal([]byte(a.body), &got))
	if err := documented.Schema.Value.VisitJSON(got, openapi3.MultiErrors(), openapi3.VisitAsResponse()); err != nil {
		m.t.Errorf("%s %d: not as the schema has it: %v", o.OperationID, status, err)
	}
	for _, wrong := range compareShape("", documented.Schema, decodePlain(documented.Example), got, true) {
		m.t.Errorf("%s %d: %s", o.OperationID, status, wrong)
	}
	return a
}
