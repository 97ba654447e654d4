package queries

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Rules that sqlc cannot check, for the queries whose names the server relies on: see CONTRIBUTING.md.
var sourceRules = []struct {
	name    *regexp.Regexp
	query   *regexp.Regexp
	because string
}{
	{regexp.MustCompile(`List$`), regexp.MustCompile(`\nORDER BY [a-z_", A-Z]*\b(id|seq)( DESC)?;`), "a list ends with an order of output columns that tells all rows apart, at last by id"},
	{regexp.MustCompile(`Lock$`), regexp.MustCompile(`FOR NO KEY UPDATE;|pg_advisory_xact_lock`), "a change starts from a row that nobody else changes, and that others may refer to meanwhile: FOR NO KEY UPDATE"},
	{regexp.MustCompile(`Update$`), regexp.MustCompile(`updated_at = now\(\)`), "updated_at is when the row last changed"},
}

func TestSourcesKeepTheRules(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*.sql")
	if err != nil || len(files) == 0 {
		t.Fatal("no queries", err)
	}
	held := make([]int, len(sourceRules))
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, query := range strings.Split(string(text), "-- name: ")[1:] {
			name, _, _ := strings.Cut(query, " ")
			for i, rule := range sourceRules {
				if !rule.name.MatchString(name) {
					continue
				}
				held[i]++
				if !rule.query.MatchString(query) {
					t.Errorf("%s, %s: %s", file, name, rule.because)
				}
			}
		}
	}
	for i, n := range held {
		if n == 0 {
			t.Errorf("no query has a name like %s", sourceRules[i].name)
		}
	}
}
