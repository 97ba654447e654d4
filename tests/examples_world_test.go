package tests

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/px360/px360/gen/client"
	"github.com/px360/px360/openapi"
)

// An exampleOperation is an operation of the contract with its method and path.
type exampleOperation struct {
	*openapi3.Operation
	method, path string
}

// exampleOperations returns the operations of the contract by id.
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

// request is the example of the request body, nil without a body.
func (o exampleOperation) request() any {
	if o.RequestBody == nil {
		return nil
	}
	return o.RequestBody.Value.Content["application/json"].Example
}

// response is the documented response with this status.
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

// object is the id in the example of the object that the path refers to.
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

// exampleID is the prefix of the ids in the contract's examples. The ids of roles are real.
const exampleID = "0193c5a0-7a00-7000-8000-0000000000"

// A sample is a system with one object of every kind, created by sending the examples of the contract
// in the order of their dependencies.
type sample struct {
	*system
	doc        *openapi3.T
	operations map[string]exampleOperation
	token      string
	real       map[string]string // the id or secret that replaces one of an example
	produced   map[string]bool   // operation and status, such as "createUser 201"
	digest     string            // the query of fingerprint
}

func newSample(s *system) *sample {
	s.t.Helper()
	doc, operations := exampleOperations(s.t)
	login := try(s.client().CreateToken(context.Background(), client.TokenRequest{Username: adminName, Password: adminPassword})).ok(s.t)
	m := &sample{system: s, doc: doc, operations: operations, token: login.Access, real: map[string]string{}, produced: map[string]bool{}}
	for _, o := range operations { // replaces the tokens of the examples
		if example, ok := o.request().(map[string]any); ok {
			for _, member := range []string{"refresh", "token"} {
				if shown, ok := example[member].(string); ok {
					m.real[shown] = login.Refresh
				}
			}
		}
	}
	m.real["your_password"] = adminPassword
	// Departments refer to a manager, and users to a department: the first manager is the PX Admin.
	user := operations["retrieveUser"].object()
	m.real[user] = try(s.admin.RetrieveMe(context.Background())).ok(s.t).ID.String()
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
	for _, id := range slices.Sorted(maps.Keys(operations)) { // the remaining create operations
		if o := operations[id]; o.response(http.StatusCreated) != nil && o.object() != "" && !m.produced[id+" 201"] {
			m.create(id)
		}
	}
	return m
}

// create sends the example of a create operation and returns the new id. The first object of a kind
// gets the id of the example; later ones get other values for unique members.
func (m *sample) create(operation string) string {
	m.t.Helper()
	o := m.operations[operation]
	body := m.body(o)
	if m.produced[operation+" 201"] {
		makeUnique(body)
	}
	if operation == "createStageInstance" { // the journey already has all stages of its template
		body.(map[string]any)["stage_template"] = m.create("createStageTemplate")
	}
	made := m.call(o, "", body, http.StatusCreated).json()
	id, _ := made["id"].(string)
	if _, known := m.real[o.object()]; !known {
		m.real[o.object()] = id
	}
	m.mapStage(made)
	return id
}

// mapStage maps the stage id of the examples to the stage that a new journey copied from the
// examples' stage template.
func (m *sample) mapStage(journey map[string]any) {
	shown, template := m.operations["retrieveStageInstance"].object(), m.operations["retrieveStageTemplate"].object()
	stages, _ := journey["stage_instances"].([]any)
	for _, stage := range stages {
		if s := stage.(map[string]any); m.real[shown] == "" && s["stage_template"] == m.real[template] {
			m.real[shown] = s["id"].(string)
		}
	}
}

// uniqueMembers are the members with a unique constraint.
var uniqueMembers = []string{"username", "code", "mrn", "license_number", "encounter_id", "api_key", "source_event_id"}

func makeUnique(body any) {
	members, _ := body.(map[string]any)
	for _, name := range uniqueMembers {
		if _, found := members[name]; found {
			members[name] = unique(name)
		}
	}
}

// body is a copy of the operation's example with real ids.
func (m *sample) body(o exampleOperation) any {
	m.t.Helper()
	if o.request() == nil {
		return nil
	}
	return m.withRealIDs(decode([]byte(jsonText(o.request()))))
}

func (m *sample) withRealIDs(data any) any {
	switch d := data.(type) {
	case string:
		return m.realText(d)
	case []any:
		for i := range d {
			d[i] = m.withRealIDs(d[i])
		}
	case map[string]any:
		for name := range d {
			d[name] = m.withRealIDs(d[name])
		}
	}
	return data
}

func (m *sample) realText(text string) string {
	if real, found := m.real[text]; found {
		return real
	}
	if strings.HasPrefix(text, exampleID) {
		m.t.Fatalf("an example refers to %s, which no example created", text)
	}
	return text
}

// pathTo is the operation's path with this id, or with that of the example if it is blank.
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

// get is the operation that reads the object at the path.
func (m *sample) get(path string) exampleOperation {
	for _, o := range m.operations {
		if o.path == path && o.method == http.MethodGet {
			return o
		}
	}
	m.t.Fatalf("no operation reads %s", path)
	return exampleOperation{}
}

// call sends a request and compares the response with the documented one.
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
	m.produced[fmt.Sprintf("%s %d", o.OperationID, status)] = true
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
