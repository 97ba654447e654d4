package contract

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/uuid"

	"github.com/px360/px360/server/problem"
)

// A Body is a valid body in canonical form, and what was found in it.
type Body struct {
	JSON          []byte                 // what is to be bound, and nothing else
	References    []Reference            // UUIDs that must exist
	RateLimitKeys []string               // what rate limits count by: sorted, each once
	Positions     []int                  // of a list of independent items: where those in JSON were, from 0
	ItemErrors    map[int]problem.Fields // of the same list: what is wrong with the others, by position; not nil if there is such a list
}

// A Reference is a UUID that refers to an object.
type Reference struct {
	Field string // of the body or the query string
	Noun  string
	ID    uuid.UUID
}

const (
	// maxDepth is how deep a body may nest.
	maxDepth = 64
	// maxTokens is how many names and values a body may have. Each costs time and, in the decoder's table of names,
	// memory of its own: a body of 5 MB has place for five times as many.
	maxTokens = 500_000
)

// ReadBody checks a body, in one pass. No body of a POST is an empty object; a PUT or PATCH must have one. The error is
// a 400: about the JSON, or with messages by field; or that of ctx, which is looked at on the way.
func (o *Operation) ReadBody(ctx context.Context, raw []byte) (Body, error) {
	if o.body == nil {
		return Body{}, nil
	}
	if len(bytes.TrimSpace(raw)) == 0 {
		if o.bodyRequired {
			return Body{}, problem.BadRequest(messageNoBody)
		}
		raw = []byte("{}")
	}
	body, messages, err := decode(ctx, o.body, raw)
	switch {
	case ctx.Err() != nil:
		return Body{}, ctx.Err()
	case messages != nil && (err == nil || errors.Is(err, errTooManyTokens)):
		return Body{}, problem.Invalid(fields(messages))
	case errors.Is(err, errTooManyTokens):
		return Body{}, err
	case err != nil:
		return Body{}, malformed(err)
	}
	slices.Sort(body.RateLimitKeys)
	body.RateLimitKeys = slices.Compact(body.RateLimitKeys)
	return body, nil
}

// errTooManyTokens ends the pass over a body. What was found wrong until then is told rather than this.
var errTooManyTokens error = problem.BadRequest(fmt.Sprintf("The request body has more than %d names and values.", maxTokens))

// malformed is the answer to a body that is not JSON as this server takes it: RFC 8259 in UTF-8, each name once.
func malformed(err error) error {
	var at *jsontext.SyntacticError
	if errors.As(err, &at) && errors.Is(err, jsontext.ErrDuplicateName) { // the only one that quotes without a bound
		at.JSONPointer = at.JSONPointer.Parent().AppendToken(problem.Excerpt(at.JSONPointer.LastToken()))
	}
	return problem.BadRequest("JSON parse error - " + strings.TrimPrefix(err.Error(), "jsontext: "))
}

// fields puts messages that concern no single field under their key.
func fields(messages any) problem.Fields {
	if f, ok := messages.(problem.Fields); ok {
		return f
	}
	return problem.Fields{problem.NonField: messages}
}
