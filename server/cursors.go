package server

import (
	"crypto/hmac"
	"encoding/base64"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"

	"github.com/px360/px360/queries"
	"github.com/px360/px360/server/auth"
	"github.com/px360/px360/server/problem"
)

// cursors write positions in lists as the text that clients send back: opaque, and signed for one list in one ordering,
// so that a position is only ever what this program has given away.
type cursors struct{ hasher *auth.KeyHasher }

// macBytes is how much of the HMAC stands at the front of a cursor.
const macBytes = 16

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
	return base64.RawURLEncoding.EncodeToString(append(c.hasher.Hash(signed(r, text))[:macBytes:macBytes], text...))
}

// read is the position of a cursor; of an empty one, the start of the list.
func (c cursors) read(r request, cursor string) (*queries.Position, error) {
	if cursor == "" {
		return &queries.Position{}, nil
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(cursor)
	if err != nil || len(raw) < macBytes {
		return nil, errInvalidCursor
	}
	mine := false
	for _, mac := range c.hasher.Hashes(signed(r, raw[macBytes:])) {
		mine = hmac.Equal(mac[:macBytes], raw[:macBytes]) || mine
	}
	if !mine {
		return nil, errInvalidCursor
	}
	var p cursorPosition
	if json.Unmarshal(raw[macBytes:], &p) != nil {
		return nil, errInvalidCursor
	}
	return (*queries.Position)(&p), nil
}

// signed is what the HMAC is of: the list, its ordering, and the position.
func signed(r request, text []byte) string {
	return strings.Join([]string{r.path, fmt.Sprint(r.page.Order), string(text)}, "\x00")
}
