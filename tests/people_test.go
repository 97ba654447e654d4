package tests

import (
	"context"
	"sync"
	"testing"

	"github.com/google/uuid"

	"github.com/px360/px360/gen/client"
	"github.com/px360/px360/gen/db"
	"github.com/px360/px360/server/auth"
)

// password is the password of every user that person inserts.
const password = "Correct-horse-360!"

// passwordHash is shared by all users, because hashing is slow on purpose.
var passwordHash = sync.OnceValues(func() (string, error) {
	return auth.HashPassword(password)
})

// issuer signs tokens with the server's key instead of by a login.
var issuer = sync.OnceValues(func() (*auth.Tokens, error) {
	keys, err := auth.NewKeys([]byte(signingKey), nil)
	if err != nil {
		return nil, err
	}
	return auth.NewTokens(keys, auth.TokenConfig{AccessLifetime: auth.DefaultAccessLifetime, RefreshLifetime: auth.DefaultRefreshLifetime})
})

// A person is a user with tokens, and a client that calls the API as the user.
type person struct {
	*client.Client
	id              uuid.UUID
	username        string
	access, refresh string
}

// person inserts a user of a hospital, or of none if it is the nil UUID, and signs tokens.
func (s *system) person(hospital uuid.UUID, roles ...string) person {
	s.t.Helper()
	return s.personNamed(uuid.Must(uuid.NewV7()), unique("user"), hospital, roles...)
}

func (s *system) personNamed(id uuid.UUID, name string, hospital uuid.UUID, roles ...string) person {
	s.t.Helper()
	hash, err := passwordHash()
	must(s.t, err)
	user := db.UserInsertParams{
		ID: id, Username: name, Email: name + "@example.org", FirstName: name, Password: hash, Language: "en", IsActive: true,
	}
	if hospital != uuid.Nil {
		user.Hospital = &hospital
	}
	ctx, q := context.Background(), db.New(s.db)
	must(s.t, q.UserInsert(ctx, user))
	for _, role := range roles {
		_, err := q.UserAddRole(ctx, db.UserAddRoleParams{UserID: id, RoleID: s.role(role)})
		must(s.t, err)
	}
	return s.tokensOf(person{id: id, username: name}, 0)
}

// tokensOf signs tokens with this token version.
func (s *system) tokensOf(p person, version int) person {
	s.t.Helper()
	tokens, err := issuer()
	must(s.t, err)
	p.access, p.refresh, err = tokens.Issue(p.id, version)
	must(s.t, err)
	p.Client = s.as(p.access)
	return p
}

// exec runs a statement on the database.
func (s *system) exec(sql string, args ...any) {
	s.t.Helper()
	_, err := s.db.Exec(context.Background(), sql, args...)
	must(s.t, err)
}

// value is the result of a query for one value.
func value[T any](s *system, sql string, args ...any) T {
	s.t.Helper()
	var v T
	must(s.t, s.db.QueryRow(context.Background(), sql, args...).Scan(&v))
	return v
}

// role is the id of a seeded role.
func (s *system) role(name string) uuid.UUID {
	s.t.Helper()
	return value[uuid.UUID](s, "SELECT id FROM roles WHERE name = $1", name)
}

// expect sends a request and checks its status.
func (s *system) expect(t testing.TB, status int, method, path, token string, body any, header ...string) answer {
	t.Helper()
	a := s.send(method, path, token, body, header...)
	if a.status != status {
		t.Errorf("%s %s %v: %d %s, want %d", method, path, body, a.status, a.body, status)
	}
	return a
}
