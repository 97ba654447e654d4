package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// A mapping copies the fields of a generated struct to those of the same name of another: a body into the row that it
// changes, the parameters of a list into the filter of its query. Which field goes where is resolved once, when the
// server starts.
type mapping[To, From any] struct{ steps []step }

// A step copies one field.
type step struct {
	name     string // on the wire
	from, to int
	value    func(reflect.Value) (value reflect.Value, stated bool)
}

// checks collects what is wrong with the generated code that the server was built with.
type checks struct{ errs []error }

func (c *checks) fail(format string, args ...any) {
	c.errs = append(c.errs, fmt.Errorf(format, args...))
}

func (c *checks) err() error { return errors.Join(c.errs...) }

// newMapping resolves a mapping. A field of From that To does not have, or has with a type that it cannot become, is a
// failed check, unless it is among the exceptions, by its Go name: a filter without a counterpart would silently
// widen a list, a field of a body would silently be lost.
func newMapping[To, From any](e *engine, exceptions ...string) mapping[To, From] {
	to, from := reflect.TypeFor[To](), reflect.TypeFor[From]()
	var m mapping[To, From]
	for i := range from.NumField() {
		field := from.Field(i)
		if slices.Contains(exceptions, field.Name) {
			continue
		}
		target, found := to.FieldByName(field.Name)
		if !found {
			e.checks.fail("%s has no field for %s.%s", to, from, field.Name)
			continue
		}
		value := conversion(target.Type, field.Type)
		if value == nil {
			e.checks.fail("%s.%s is a %s and cannot become %s.%s, a %s", from, field.Name, field.Type, to, field.Name, target.Type)
			continue
		}
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		m.steps = append(m.steps, step{name, i, target.Index[0], value})
	}
	for _, name := range exceptions {
		if _, found := from.FieldByName(name); !found {
			e.checks.fail("%s.%s is an exception and does not exist", from, name)
		}
	}
	return m
}

// checkSources fails if a field of To is none of the names: a parameter of a query that nothing ever sets.
func checkSources[To any](e *engine, names []string) {
	for _, name := range fieldNames[To]() {
		if !slices.Contains(names, name) {
			e.checks.fail("nothing sets %s.%s", reflect.TypeFor[To](), name)
		}
	}
}

func fieldNames[T any]() (names []string) {
	for field := range reflect.TypeFor[T]().Fields() {
		names = append(names, field.Name)
	}
	return names
}

// copy writes what from states into *to. A nil pointer and an unset Nullable state nothing. It returns the wire names
// of the fields that were stated, be it with null or with the old value, and of those whose value changed.
func (m mapping[To, From]) copy(to *To, from From) (stated, changed []string) {
	target, source := reflect.ValueOf(to).Elem(), reflect.ValueOf(from)
	for _, step := range m.steps {
		value, ok := step.value(source.Field(step.from))
		if !ok {
			continue
		}
		stated = append(stated, step.name)
		field := target.Field(step.to)
		if !same(field, value) {
			changed = append(changed, step.name)
		}
		field.Set(value)
	}
	return stated, changed
}

// convert is a To with what from states, and zero values elsewhere.
func (m mapping[To, From]) convert(from From) To {
	var to To
	m.copy(&to, from)
	return to
}

// conversion is how a value of one type becomes one of the other, or nil if it cannot.
func conversion(to, from reflect.Type) func(reflect.Value) (reflect.Value, bool) {
	isRaw := from == reflect.TypeFor[json.RawMessage]()
	switch {
	case isRaw && to == from:
		return func(v reflect.Value) (reflect.Value, bool) { return v, v.Len() > 0 }
	case from == to && from.Kind() != reflect.Pointer:
		return func(v reflect.Value) (reflect.Value, bool) { return v, true }
	case from == to:
		return func(v reflect.Value) (reflect.Value, bool) { return v, !v.IsNil() }
	case from.Kind() == reflect.Pointer && from.Elem() == to:
		return func(v reflect.Value) (reflect.Value, bool) {
			if v.IsNil() {
				return v, false
			}
			return v.Elem(), true
		}
	case to.Kind() == reflect.Pointer && to.Elem() == from:
		return func(v reflect.Value) (reflect.Value, bool) { return pointerTo(v), true }
	case from.Kind() == reflect.Map && from.Key().Kind() == reflect.Bool && to.Kind() == reflect.Pointer && from.Elem() == to.Elem():
		// nullable.Nullable is a map: empty when unset, else with the value under true, or null under false.
		return func(v reflect.Value) (reflect.Value, bool) {
			if v.Len() == 0 {
				return v, false
			}
			if value := v.MapIndex(reflect.ValueOf(true)); value.IsValid() {
				return pointerTo(value), true
			}
			return reflect.Zero(to), true
		}
	}
	return nil
}

func pointerTo(v reflect.Value) reflect.Value {
	p := reflect.New(v.Type())
	p.Elem().Set(v)
	return p
}

// same compares two values of one type: times as instants, JSON as its compact form, pointers by what they point at.
func same(a, b reflect.Value) bool {
	switch x := a.Interface().(type) {
	case time.Time:
		return x.Equal(b.Interface().(time.Time))
	case json.RawMessage:
		var one, other bytes.Buffer
		return json.Compact(&one, x) == nil && json.Compact(&other, b.Interface().(json.RawMessage)) == nil && bytes.Equal(one.Bytes(), other.Bytes())
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}

// present are those of the names that From has a field for.
func present[From any](names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return !slices.Contains(fieldNames[From](), name) })
}

// value is what p points at, or the zero value.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}
