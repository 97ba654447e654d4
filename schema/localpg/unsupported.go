//go:build !unix

// Package localpg runs a private Postgres for development and tests, on Unix.
package localpg

import (
	"context"
	"errors"
	"log/slog"
)

// ErrInUse is returned by Remove while a process runs the server.
var ErrInUse = errors.New("the private Postgres is in use")

var errUnsupported = errors.New("there is no private Postgres on this system; point PX360_DATABASE_URL at a Postgres of your own")

// Options configure Start.
type Options struct {
	Dir       string
	Settings  map[string]string
	Throwaway bool
	Log       *slog.Logger
	Progress  func(string)
}

// Postgres is a running server.
type Postgres struct{}

// Start always fails here.
func Start(context.Context, Options) (*Postgres, error) { return nil, errUnsupported }

// Dir is empty.
func (*Postgres) Dir() string { return "" }

// URL is empty.
func (*Postgres) URL(string) string { return "" }

// EnsureDatabase always fails here.
func (*Postgres) EnsureDatabase(context.Context, string) (string, error) { return "", errUnsupported }

// Stop does nothing here.
func (*Postgres) Stop() error { return nil }

// Remove always fails here.
func Remove(string) error { return errUnsupported }
