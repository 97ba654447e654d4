package main

import (
	"fmt"
	"io"
	"log/slog"
	"regexp"
)

// newJSONLog makes a log of a JSON object per line, in which no control character stands as it is.
func newJSONLog(w io.Writer, options *slog.HandlerOptions) *slog.Logger {
	return slog.New(slog.NewJSONHandler(controlEscaper{w}, options))
}

// A controlEscaper writes JSON with the control characters escaped that JSON allows as they are, DEL and the C1 set:
// terminals obey them, and paths of requests are logged.
type controlEscaper struct{ w io.Writer }

var controls = regexp.MustCompile("[\x7f\u0080-\u009f]")

// Write writes whole lines, as a slog handler does.
func (e controlEscaper) Write(line []byte) (int, error) {
	escaped := controls.ReplaceAllFunc(line, func(char []byte) []byte { return fmt.Appendf(nil, `\u%04x`, []rune(string(char))[0]) })
	if _, err := e.w.Write(escaped); err != nil {
		return 0, err
	}
	return len(line), nil
}
