// Package contract is the OpenAPI document as the server enforces it: its paths and operations, who may call them and
// under which rate limit, and the checks of query strings, headers and bodies against its schemas.
//
// The package knows the OpenAPI document. It must not know the requests under way, the database, or any noun: which
// nouns there are, Compile is told.
//
// The validator is ours because its words are those of Django REST Framework (DRF), for whose clients this API is.
// openapi3filter, of kin-openapi, says what is wrong in the words of JSON Schema, and with one error for a field where
// DRF has several. It checks a body and leaves it as it was, where this package also writes what is to be bound: text
// trimmed, UUIDs and times in canonical form, unknown members left out. And it has no independent items of a list, of
// which the bad ones are reported and the rest are stored.
//
// Compile refuses what the validator would not enforce, so that nothing in the document is a promise that no code keeps.
package contract

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/px360/px360/server/auth"
)

// A Contract is the OpenAPI document, compiled once at the start. It does not change afterwards.
type Contract struct {
	Paths map[string]*Path // by path as echo has it, /api/…/:id/
}

// A Path is what one path offers.
type Path struct {
	Operations map[string]*Operation // by method
	Allow      string                // the value of the Allow header
	APIKeys    bool                  // whether X-API-Key authenticates here: on paths of events
}

// An Operation is what the contract says of one method on one path.
type Operation struct {
	ID         string
	Permission auth.Rule
	RateLimit  string // one of the policies
	Object     string // the noun that the id in the path refers to; empty if none
	BodyLimit  int64  // bytes

	query   []*parameter // of lists; nil elsewhere
	headers []*parameter
	body    *node // nil if the operation takes none
	// bodyRequired is that no body is an error of its own. That of a POST is an empty object, as DRF takes it, which
	// lacks whatever is required; a PUT or PATCH of nothing would do nothing and succeed.
	bodyRequired bool
}

// The rate limits that an operation can declare.
const (
	PolicyNone   = "none"
	PolicyUser   = "user"   // by user
	PolicyAuth   = "auth"   // by client address
	PolicyEvents = "events" // by hospital and source system
)

// defaultBodyLimit is the size of a body, in bytes, unless the operation says otherwise.
const defaultBodyLimit = 1 << 20

// Operations with this tag take API keys, and so do all others on their path: with a key, those answer 403 instead
// of 401.
const apiKeyTag = "Events"

// extensionPrefix begins the names of the extensions that this package enforces.
const extensionPrefix = "x-px360-"

// Settings are what the document leaves to the server.
type Settings struct {
	Nouns      []string // what x-px360-refers-to and x-px360-object may name
	MaxPayload int      // bytes of free JSON where x-px360-settable-max-bytes lets the operator choose
	Policy     auth.Policy
}

// Compile reads a valid document. It fails, with path, method and field, on what the server would not enforce: the
// server must not start with such a document.
func Compile(doc *openapi3.T, settings Settings) (*Contract, error) {
	c := &compiler{nouns: settings.Nouns, maxPayload: settings.MaxPayload, permissions: settings.Policy}
	if doc.Components != nil {
		c.schemas = doc.Components.Schemas
	}
	contract := &Contract{Paths: map[string]*Path{}}
	for _, name := range slices.Sorted(maps.Keys(doc.Paths.Map())) {
		path, err := c.path(doc.Paths.Value(name))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		contract.Paths[echoPath(name)] = path
	}
	return contract, nil
}

// A compiler checks and compiles the parts of a document.
type compiler struct {
	nouns       []string
	maxPayload  int
	permissions auth.Policy
	schemas     openapi3.Schemas // the document's, by name
}

func (c *compiler) path(item *openapi3.PathItem) (*Path, error) {
	if len(item.Parameters) > 0 {
		return nil, fmt.Errorf("parameters of a path are not supported: declare them in each operation")
	}
	p := &Path{Operations: map[string]*Operation{}}
	allow := []string{http.MethodOptions}
	operations := item.Operations()
	for _, method := range slices.Sorted(maps.Keys(operations)) {
		o, err := c.operation(operations[method])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", method, err)
		}
		o.bodyRequired = o.body != nil && (method == http.MethodPut || method == http.MethodPatch)
		p.Operations[method] = o
		p.APIKeys = p.APIKeys || slices.Contains(operations[method].Tags, apiKeyTag)
		allow = append(allow, method)
		if method == http.MethodGet {
			allow = append(allow, http.MethodHead)
		}
	}
	slices.Sort(allow)
	p.Allow = strings.Join(allow, ", ")
	return p, nil
}

func (c *compiler) operation(op *openapi3.Operation) (*Operation, error) {
	o := &Operation{ID: op.OperationID, BodyLimit: defaultBodyLimit}
	var resource string // the noun whose plain read or write this is, if any
	if err := c.policy(o, &resource, op.Extensions); err != nil {
		return nil, err
	}
	for _, ref := range op.Parameters {
		if err := c.addParameter(o, ref.Value); err != nil {
			return nil, fmt.Errorf("parameter %s: %w", ref.Value.Name, err)
		}
	}
	if op.RequestBody == nil {
		return o, nil
	}
	content := op.RequestBody.Value.Content
	media := content["application/json"]
	if media == nil || len(content) > 1 {
		return nil, fmt.Errorf("request body: must be application/json and nothing else")
	}
	if o.Object = cmp.Or(o.Object, resource); o.Object != "" && !slices.Contains(c.nouns, o.Object) {
		return nil, fmt.Errorf("x-px360-resource: no noun %q", o.Object)
	}
	var err error
	if o.body, err = c.body(media.Schema); err != nil {
		return nil, fmt.Errorf("request body: %w", err)
	}
	if !op.RequestBody.Value.Required && len(o.body.required) > 0 {
		return nil, fmt.Errorf("request body: must be required, as some of its members are")
	}
	return o, nil
}

// policy sets what the extensions of an operation say.
func (c *compiler) policy(o *Operation, resource *string, extensions map[string]any) error {
	var permission string
	known := map[string]any{
		extensionPrefix + "permission": &permission, extensionPrefix + "rate-limit": &o.RateLimit,
		extensionPrefix + "object": &o.Object, extensionPrefix + "resource": resource, extensionPrefix + "body-limit": &o.BodyLimit,
	}
	for _, name := range slices.Sorted(maps.Keys(extensions)) {
		into, found := known[name]
		switch {
		case !found && strings.HasPrefix(name, extensionPrefix):
			return fmt.Errorf("%s is not known", name)
		case found:
			if err := extension(extensions, name, into); err != nil {
				return err
			}
		}
	}
	var found bool
	o.Permission, found = c.permissions.Rule(permission)
	switch {
	case !found:
		return fmt.Errorf("x-px360-permission %q is not known", permission)
	case !slices.Contains([]string{PolicyNone, PolicyUser, PolicyAuth, PolicyEvents}, o.RateLimit):
		return fmt.Errorf("x-px360-rate-limit %q is not known", o.RateLimit)
	case o.Object != "" && !slices.Contains(c.nouns, o.Object):
		return fmt.Errorf("x-px360-object: no noun %q", o.Object)
	case o.BodyLimit < 1:
		return fmt.Errorf("x-px360-body-limit of %d bytes", o.BodyLimit)
	}
	return nil
}

// extension decodes the value of an extension, if it is there.
func extension(extensions map[string]any, name string, into any) error {
	value, found := extensions[name]
	if !found {
		return nil
	}
	raw, err := json.Marshal(value)
	if err == nil {
		err = json.Unmarshal(raw, into)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// echoPath is /a/{id}/ as echo has it: /a/:id/.
func echoPath(path string) string {
	return strings.NewReplacer("{", ":", "}", "").Replace(path)
}

// MayAny reports whether the principal may call at least one operation of the path.
func (p *Path) MayAny(principal auth.Principal) bool {
	for _, o := range p.Operations {
		if principal.May(o.Permission) {
			return true
		}
	}
	return false
}

// RateLimit is the policy of an operation or, if o is nil because the path does not have the method, of the path: that
// of users if any of its operations is limited by user or source system.
func (p *Path) RateLimit(o *Operation) string {
	if o != nil {
		return o.RateLimit
	}
	limit := PolicyNone
	for _, o := range p.Operations {
		switch o.RateLimit {
		case PolicyUser, PolicyEvents:
			return PolicyUser
		case PolicyAuth:
			limit = PolicyAuth
		}
	}
	return limit
}

// Public reports whether the operation is open to anonymous callers.
func (o *Operation) Public() bool { return o.Permission.Audience == auth.Everyone }

// IsList reports whether the operation takes a query string, which lists do.
func (o *Operation) IsList() bool { return o.query != nil }

// HasBody reports whether the operation takes a body.
func (o *Operation) HasBody() bool { return o.body != nil }

// TakesEvents reports whether calls are limited by the source systems that the body names.
func (o *Operation) TakesEvents() bool { return o.RateLimit == PolicyEvents }
