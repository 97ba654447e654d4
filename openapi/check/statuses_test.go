package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/px360/px360/openapi"
)

// documented are the samples of the metric for every documented status of every operation.
func documented(t *testing.T) (lines []string) {
	t.Helper()
	doc, err := openapi.Load()
	if err != nil {
		t.Fatal(err)
	}
	for path, item := range doc.Paths.Map() {
		for method, operation := range item.Operations() {
			for status := range operation.Responses.Map() {
				if status != "default" {
					lines = append(lines, fmt.Sprintf(`px360_http_request_seconds_count{method=%q,route=%q,status=%q} 1`,
						method, strings.ReplaceAll(path, "{id}", ":id"), status))
				}
			}
		}
	}
	return lines
}

func TestStatuses(t *testing.T) {
	t.Parallel()
	all := documented(t)
	for what, test := range map[string]struct {
		files map[string][]string
		want  string // part of the error, or else of the table
	}{
		"all, of two suites":  {map[string][]string{"tests-1.prom": all[1:], "tests-2.prom": all[:1], "schemathesis.prom": all[:1]}, "T: produced by tests, " + fmt.Sprint(len(all))},
		"one is missing":      {map[string][]string{"tests-1.prom": all[1:], "schemathesis.prom": all[1:2]}, "produced by no test:"},
		"a suite is missing":  {map[string][]string{"tests-1.prom": all}, "no statuses of schemathesis"},
		"nothing was written": {nil, "no statuses of tests"},
	} {
		dir := t.TempDir()
		for name, lines := range test.files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte("# HELP\n"+strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		table, err := statuses(dir)
		if failed := err != nil; failed == strings.HasPrefix(what, "all") || !strings.Contains(table+fmt.Sprint(err), test.want) {
			t.Errorf("%s: %v, want %q\n%s", what, err, test.want, table)
		}
	}
}
