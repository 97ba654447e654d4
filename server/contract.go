package server

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/px360/px360/server/auth"
)

// A contract is the OpenAPI document as the server enforces it, compiled once at the start.
type contract struct {
	paths map[string]*pathItem // by echo's spelling, /api/…/:id/
}

// A pathItem is what one path offers.
type pathItem struct {
	operations map[string]*operation // by method
	allow      string                // the Allow header
	apiKeys    bool                  // whether X-API-Key is read here: on event operations
}

// An operation is what the contract says of one method on one path.
type operation struct {
	id         string
	permission string
	rateLimit  string
	object     string
	query      []*parameter // of lists; nil elsewhere
	headers    []*parameter
	body       *node // nil when it takes none
	bodyLimit  int64
}

// Limits on the size of a request's body, unless the operation says otherwise.
const defaultBodyLimit = 1 << 20

// Rate limits that an operation can declare.
var rateLimits = map[string]bool{policyNone: true, policyAuth: true, policyUser: true, policyEvents: true}

// compile reads the document. An operation that does not declare who may call it and under which
// limit is an error: the server must not start with it.
func compile(doc *openapi3.T) (*contract, error) {
	c := &contract{paths: map[string]*pathItem{}}
	for path, item := range doc.Paths.Map() {
		compiled := &pathItem{operations: map[string]*operation{}}
		methods := []string{http.MethodOptions}
		for method, op := range item.Operations() {
			o, err := compileOperation(op)
			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", method, path, err)
			}
			compiled.operations[method] = o
			compiled.apiKeys = compiled.apiKeys || slices.Contains(op.Tags, "Events")
			methods = append(methods, method)
			if method == http.MethodGet {
				methods = append(methods, http.MethodHead)
			}
		}
		sort.Strings(methods)
		compiled.allow = strings.Join(methods, ", ")
		c.paths[echoPath(path)] = compiled
	}
	return c, nil
}

func compileOperation(op *openapi3.Operation) (*operation, error) {
	o := &operation{id: op.OperationID, bodyLimit: defaultBodyLimit}
	var err error
	read := func(name string, into any) {
		raw, found := op.Extensions[name]
		if !found || err != nil {
			return
		}
		text, _ := json.Marshal(raw)
		if e := json.Unmarshal(text, into); e != nil {
			err = fmt.Errorf("%s: %w", name, e)
		}
	}
	read("x-px360-permission", &o.permission)
	read("x-px360-rate-limit", &o.rateLimit)
	read("x-px360-object", &o.object)
	read("x-px360-body-limit", &o.bodyLimit)
	switch {
	case err != nil:
		return nil, err
	case !auth.Known(o.permission):
		return nil, fmt.Errorf("x-px360-permission %q is none that is known", o.permission)
	case !rateLimits[o.rateLimit]:
		return nil, fmt.Errorf("x-px360-rate-limit %q is none that is known", o.rateLimit)
	}
	if op.RequestBody != nil {
		o.body, err = compileSchema(op.RequestBody.Value.Content["application/json"].Schema)
		if err != nil {
			return nil, err
		}
	}
	for _, ref := range op.Parameters {
		if ref.Value.In == openapi3.ParameterInPath { // always an id
			continue
		}
		p, err := compileParameter(ref.Value)
		switch {
		case err != nil:
			return nil, err
		case ref.Value.In == openapi3.ParameterInHeader:
			o.headers = append(o.headers, p)
		default:
			o.query = append(o.query, p)
		}
	}
	return o, nil
}

// public tells whether the operation is open to anonymous callers.
func (o *operation) public() bool { return o.permission == "public" }

// open tells whether the principal may call at least one operation of the path.
func (p *pathItem) open(principal auth.Principal) bool {
	for _, o := range p.operations {
		if principal.May(o.permission) {
			return true
		}
	}
	return false
}

// limit is the rate limit of an operation or, for a method that the path does not have, of the path: the
// users' where it has operations for them.
func (p *pathItem) limit(o *operation) string {
	if o != nil {
		return o.rateLimit
	}
	limit := policyNone
	for _, o := range p.operations {
		switch o.rateLimit {
		case policyUser, policyEvents:
			return policyUser
		case policyAuth:
			limit = policyAuth
		}
	}
	return limit
}

// echoPath spells /a/{id}/ as /a/:id/.
func echoPath(path string) string {
	return strings.NewReplacer("{", ":", "}", "").Replace(path)
}
