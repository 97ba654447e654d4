package server

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/px360/px360/server/auth"
	"github.com/px360/px360/server/contract"
)

// A request is what is known of a request when its handler runs. Handlers see only a context.Context and find it
// there; they get a copy, so that nothing in it changes on the way.
type request struct {
	id        string // X-Request-ID
	began     time.Time
	clientIP  string
	path      string              // as it was sent, for the links between pages
	principal auth.Principal      // anonymous until the gate has authenticated the caller
	operation *contract.Operation // nil outside of the contract
	page      contract.Page       // of a list
	body      contract.Body       // as it was checked
	place     *place              // nil outside of the contract
	header    http.Header         // of the answer
	// Whom an operation authenticated by itself, by a token in the body: for the log line alone, which is written when
	// the operation is over.
	actor *auth.Principal
}

type requestKey struct{}

// requestOf is the request that ctx belongs to; an empty one outside of any.
func requestOf(ctx context.Context) request {
	r, _ := ctx.Value(requestKey{}).(request)
	return r
}

// in is ctx with the request in it.
func (r request) in(ctx context.Context) context.Context {
	return context.WithValue(ctx, requestKey{}, r)
}

// caller names who sent the request, for the log.
func (r request) caller() string {
	p := r.principal
	if p.Kind == auth.KindAnonymous && r.actor != nil {
		p = *r.actor
	}
	switch p.Kind {
	case auth.KindUser:
		return p.Username
	case auth.KindAPIKey:
		return "key:" + p.ConfigID.String()
	}
	return ""
}

func newID() uuid.UUID {
	return uuid.Must(uuid.NewV7())
}
