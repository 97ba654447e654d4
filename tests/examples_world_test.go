package tests

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/px360/px360/gen/client"
	"github.com/px360/px360/openapi"
	"github.com/px360/px360/tests/examples"
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

// id is that of the object in the example of the path, blank without one.
func (o exampleOperation) id() string {
	if p := o.Parameters.GetByInAndName("path", "id"); p != nil {
		id, _ := p.Example.(string)
		return id
	}
	return ""
}

// pathTo is the operation's path to the object with this id, or to that of the examples if it is blank.
func (o exampleOperation) pathTo(id string) string {
	path := strings.ReplaceAll(o.path, "{id}", cmp.Or(id, o.id()))
	if p := o.Parameters.GetByInAndName("path", "token"); p != nil {
		path = strings.ReplaceAll(path, "{token}", cmp.Or(id, p.Example.(string)))
	}
	return path
}

// A sample is a system with the objects of the contract's examples.
type sample struct {
	*system
	doc        *openapi3.T
	operations map[string]exampleOperation
	token      string            // a PX Admin's
	secrets    map[string]string // the token or password that stands for one of an example
	produced   map[string]bool   // operation and status, such as "createUser 201"
	digest     string            // the query of fingerprint
}

func newSample(s *system) *sample {
	s.t.Helper()
	must(s.t, examples.Seed(context.Background(), s.db))
	doc, operations := exampleOperations(s.t)
	login := try(s.client().CreateToken(context.Background(), client.TokenRequest{Username: adminName, Password: adminPassword})).ok(s.t)
	m := &sample{system: s, doc: doc, operations: operations, token: login.Access, produced: map[string]bool{}}
	m.secrets = map[string]string{"your_password": adminPassword}
	for _, o := range operations {
		if example, ok := o.request().(map[string]any); ok {
			for _, member := range []string{"refresh", "token"} {
				if shown, ok := example[member].(string); ok {
					m.secrets[shown] = login.Refresh
				}
			}
		}
	}
	return m
}

// body is a copy of the operation's example with valid secrets.
func (m *sample) body(o exampleOperation) any {
	if o.request() == nil {
		return nil
	}
	body := decode([]byte(jsonText(o.request())))
	if members, ok := body.(map[string]any); ok {
		for name, value := range members {
			if text, ok := value.(string); ok && m.secrets[text] != "" {
				members[name] = m.secrets[text]
			}
		}
	}
	return body
}

// call sends a request and compares the response with the documented one.
func (m *sample) call(o exampleOperation, id string, body any, status int) answer {
	m.t.Helper()
	return m.callAs(m.token, o, id, body, status)
}

func (m *sample) callAs(token string, o exampleOperation, id string, body any, status int) answer {
	m.t.Helper()
	a := m.send(o.method, o.pathTo(id), token, body)
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
