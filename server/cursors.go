package server

import (
	"encoding/base64"
	"fmt"

	"github.com/go-json-experiment/json"

	"github.com/px360/px360/queries"
	"github.com/px360/px360/queries/rules"
	"github.com/px360/px360/server/problem"
)

// cursors write positions in lists as the text that clients send back. They are sealed, for one list in one ordering: a
// position is only ever one that this program has given away, and the names in it stand in no log of URLs.
type cursors struct{ sealer rules.Sealer }

// A cursorPosition is what a cursor says. Values are null for null.
type cursorPosition struct {
	Values   []*string `json:"v"`
	Backward bool      `json:"b,omitzero"`
}

// errInvalidCursor is DRF's answer.
var errInvalidCursor = problem.BadRequest("Invalid cursor")

func (c cursors) write(r request, p queries.Position) string {
	text, err := json.Marshal(cursorPosition(p))
	if err != nil {
		panic(err) // cannot happen for texts
	}
	return base64.RawURLEncoding.EncodeToString(c.sealer.Seal(text, validFor(r)))
}

// read is the position of a cursor; of an empty one, the start of the list.
func (c cursors) read(r request, cursor string) (*queries.Position, error) {
	if cursor == "" {
		return &queries.Position{}, nil
	}
	sealed, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil {
		return nil, errInvalidCursor
	}
	text, _, err := c.sealer.Open(sealed, validFor(r))
	if err != nil {
		return nil, errInvalidCursor
	}
	var p cursorPosition
	if json.Unmarshal(text, &p) != nil {
		return nil, errInvalidCursor
	}
	return (*queries.Position)(&p), nil
}

// validFor is where a cursor is valid: a list and its ordering.
func validFor(r request) []byte { return fmt.Append(nil, r.path, r.page.Order) }
