package main

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"testing"
	"unicode"
)

func TestLogHasNoControlCharacters(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	path := "/a\x00\x1b[31m\x7f\u0085\u009b2Jن…/"
	newJSONLog(&out, &slog.HandlerOptions{}).Info("request", "path", path)
	line := out.Bytes()
	for _, char := range string(line[:len(line)-1]) {
		if unicode.IsControl(char) {
			t.Errorf("%U is in %q", char, line)
		}
	}
	var logged struct{ Path string }
	if err := json.Unmarshal(line, &logged); err != nil || logged.Path != path {
		t.Errorf("%q is logged as %s (%v)", path, line, err)
	}
}
