package queries

import (
	"fmt"
	"runtime/debug"
)

// A PanicError is a panic that was recovered where a transaction has to end or a goroutine to go on. It keeps the
// stack of where the panic happened.
type PanicError struct {
	Value any
	Stack []byte
}

func (p *PanicError) Error() string { return fmt.Sprintf("panic: %v\n%s", p.Value, p.Stack) }

// Recover stores a panic in *err. Defer it.
func Recover(err *error) {
	if p := recover(); p != nil {
		*err = &PanicError{p, debug.Stack()}
	}
}
