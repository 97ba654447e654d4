//go:build oasdiff

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// edits are made to a copy of the contract. These tests need bin/oasdiff: `make compatible` runs them.
var edits = []struct {
	name, old, new string
	breaks         string // part of what oasdiff says, empty for a compatible edit
}{
	{"remove an answer's required property", "      required: [access]\n      properties:\n        access:\n", "      properties:\n        token:\n", "`access`"},
	{"remove an answer's optional property", "        refresh:\n          type: string\n          description: A new refresh", "        other:\n          type: string\n          description: A new refresh", "`refresh`"},
	{"require a field of a request", "      required: [name, code]\n      properties: &hospitalFields\n", "      required: [name, code, city]\n      properties: &hospitalFields\n", "`city`"},
	{"remove an operation", "  /api/auth/token/verify/:\n", "  /api/auth/token/check/:\n", "removed"},
	{"rename an operation's function", "operationId: verifyToken", "operationId: checkToken", "verifyToken"},
	{"rename a schema", "TokenVerifyRequest", "TokenCheckRequest", "TokenVerifyRequest"},
	{"add an optional property", "        refresh:\n          type: string\n          description: A new refresh", "        added: {type: string}\n        refresh:\n          type: string\n          description: A new refresh", ""},
	{"reword a description", "description: A new access token.", "description: The access token.", ""},
}

func TestBreakingChangesAreFound(t *testing.T) {
	t.Parallel()
	contract, err := os.ReadFile("../openapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	oasdiff, err := filepath.Abs("../../bin/oasdiff")
	if err != nil {
		t.Fatal(err)
	}
	for _, edit := range edits {
		t.Run(edit.name, func(t *testing.T) {
			t.Parallel()
			if !strings.Contains(string(contract), edit.old) {
				t.Fatalf("the contract has no %q to edit", edit.old)
			}
			now, err := contractVersion("openapi.yaml", contract)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			write(t, filepath.Join(dir, now.String()+".yaml"), string(contract))
			c := comparison{
				contract: filepath.Join(dir, "edited", "openapi.yaml"), releasedDir: dir,
				changelog: filepath.Join(dir, "edited", "CHANGELOG.md"), oasdiff: oasdiff,
			}
			edited := strings.ReplaceAll(string(contract), edit.old, edit.new)
			write(t, c.contract, edited)
			write(t, c.changelog, "# Changelog\n\n## [Unreleased]\n\n- An edit.\n")
			if _, err = compatible(c); (err == nil) != (edit.breaks == "") || err != nil && !strings.Contains(err.Error(), edit.breaks) {
				t.Errorf("the version stays: %v, want %q", err, edit.breaks)
			}
			// The same edit is allowed with the next version.
			next := strings.Replace(edited, `version: "`+now.String()+`"`, `version: "`+now.nextBreaking().String()+`"`, 1)
			write(t, c.contract, next)
			if _, err = compatible(c); err != nil {
				t.Errorf("the version moves: %v", err)
			}
		})
	}
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
