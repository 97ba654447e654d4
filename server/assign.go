package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"time"
)

// assign copies what source says into the fields of the same name of *target, and tells the names,
// as they are on the wire, of those whose value changed. A nil pointer and an unset Nullable say
// nothing. It is how a body reaches the row that it changes: create, replace and update alike.
//
// Both sides are generated, so which field goes where is known at the start; planOf panics on a pair
// that does not fit, and server.New tries every pair that there is.
func assign(target, source any) (changed []string) {
	to := reflect.ValueOf(target).Elem()
	from := reflect.ValueOf(source)
	if from.Kind() == reflect.Pointer {
		from = from.Elem()
	}
	for _, step := range planOf(to.Type(), from.Type()) {
		value, said := step.value(from.Field(step.from))
		if !said {
			continue
		}
		field := to.Field(step.to)
		if !same(field, value) {
			changed = append(changed, step.name)
		}
		field.Set(value)
	}
	return changed
}

// fill is a T with the fields that source has under the same name.
func fill[T any](source any) T {
	var target T
	assign(&target, source)
	return target
}

// says tells whether a body has the field with this wire name, be it with the old value or with null.
func says(body any, name string) bool {
	from := reflect.ValueOf(body).Elem()
	for i := range from.NumField() {
		if wire, _, _ := strings.Cut(from.Type().Field(i).Tag.Get("json"), ","); wire == name {
			return !from.Field(i).IsZero()
		}
	}
	return false
}

// A step of a plan copies one field.
type step struct {
	name     string
	from, to int
	value    func(reflect.Value) (reflect.Value, bool)
}

type planKey struct{ to, from reflect.Type }

var plans sync.Map // planKey to []step

func planOf(to, from reflect.Type) []step {
	key := planKey{to, from}
	if plan, found := plans.Load(key); found {
		return plan.([]step)
	}
	var plan []step
	for i := range from.NumField() {
		field := from.Field(i)
		target, found := to.FieldByName(field.Name)
		if !found {
			continue
		}
		value := conversion(target.Type, field.Type)
		if value == nil {
			panic(fmt.Sprintf("server: %s.%s is a %s and %s.%s a %s", from, field.Name, field.Type, to, field.Name, target.Type))
		}
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		plan = append(plan, step{name, i, target.Index[0], value})
	}
	plans.Store(key, plan)
	return plan
}

// conversion is how a value of one type becomes one of the other, or nil.
func conversion(to, from reflect.Type) func(reflect.Value) (reflect.Value, bool) {
	isRaw := from == reflect.TypeFor[json.RawMessage]()
	switch {
	case isRaw && to == from:
		return func(v reflect.Value) (reflect.Value, bool) { return v, v.Len() > 0 }
	case from == to && from.Kind() != reflect.Pointer:
		return func(v reflect.Value) (reflect.Value, bool) { return v, true }
	case from == to: // pointers: nil says nothing
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
		// nullable.Nullable: a map that is empty when unset, else has its value under true, or null
		// under false.
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

// same compares two values of one type: times as instants, JSON as what it says, pointers as what they
// point at.
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
