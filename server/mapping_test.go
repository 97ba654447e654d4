package server

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oapi-codegen/nullable"
)

type mapped struct {
	Name  string
	Note  *string
	Since time.Time
	Data  json.RawMessage
}

type body struct {
	Name  string                    `json:"name"`
	Note  nullable.Nullable[string] `json:"note,omitempty"`
	Since *time.Time                `json:"since,omitempty"`
	Data  json.RawMessage           `json:"data,omitempty"`
}

// What a body does not state stays; null is stated.
func TestMappingCopies(t *testing.T) {
	t.Parallel()
	e := &engine{}
	m := newMapping[mapped, body](e)
	if err := e.checks.err(); err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	local := at.In(time.FixedZone("", 3600))
	note := "a"
	row := mapped{Name: "x", Note: &note, Since: at, Data: json.RawMessage(`{"a": 1}`)}
	stated, changed := m.copy(&row, body{Name: "y", Since: &local, Data: json.RawMessage(`{"a":1}`)})
	if !slices.Equal(stated, []string{"name", "since", "data"}) || !slices.Equal(changed, []string{"name"}) {
		t.Errorf("stated %v, changed %v", stated, changed)
	}
	if row.Name != "y" || row.Note == nil || *row.Note != "a" {
		t.Errorf("row %+v", row)
	}
	stated, changed = m.copy(&row, body{Name: "y", Note: nullable.NewNullNullable[string]()})
	if !slices.Equal(stated, []string{"name", "note"}) || !slices.Equal(changed, []string{"note"}) || row.Note != nil {
		t.Errorf("stated %v, changed %v, row %+v", stated, changed, row)
	}
}

// A field that goes nowhere, and a parameter that nothing sets, keep the server from starting.
func TestMappingRefuses(t *testing.T) {
	t.Parallel()
	for want, check := range map[string]func(*engine){
		"has no field for":                   func(e *engine) { newMapping[struct{ Name string }, body](e) },
		"cannot become":                      func(e *engine) { newMapping[struct{ Name int }, struct{ Name string }](e) },
		"is an exception and does not exist": func(e *engine) { newMapping[mapped, body](e, "Age") },
		"nothing sets":                       func(e *engine) { checkSources[mapped](e, []string{"Name", "Note", "Data"}) },
	} {
		e := &engine{}
		check(e)
		if err := e.checks.err(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want an error with %q", err, want)
		}
	}
}
