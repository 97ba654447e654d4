package client

import (
	"github.com/google/uuid"
	"github.com/oapi-codegen/nullable"
)

// ID is the id of an object, such as a PatientID, which is the same type.
type ID = uuid.UUID

// Ptr returns a pointer to the value, for what may be left out of a body or of parameters.
func Ptr[T any](value T) *T { return &value }

// Value is a nullable that is set to the value.
func Value[T any](value T) nullable.Nullable[T] { return nullable.NewNullableWithValue(value) }

// Null is a nullable that is set to null, which takes away what was there.
func Null[T any]() nullable.Nullable[T] { return nullable.NewNullNullable[T]() }
