package main

import (
	"bufio"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/px360/px360/openapi"
)

// statusLine is a sample of the metric in which the server counts its answers.
// routeParameter is a parameter of a route, as echo has it.
var routeParameter = regexp.MustCompile(`:([a-z]+)`)

var statusLine = regexp.MustCompile(`^px360_http_request_seconds_count\{method="([A-Z]+)",route="([^"]+)",status="(\d+)"\} `)

// produced says which statuses an operation was answered with: "GET /api/auth/roles/ 200".
type produced map[string]bool

// readStatuses reads the metrics that servers under test left in the files of a directory, one suite a file:
// SUITE.prom or SUITE-ANYTHING.prom.
func readStatuses(dir string) (map[string]produced, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.prom"))
	if err != nil {
		return nil, err
	}
	suites := map[string]produced{}
	for _, file := range files {
		suite, _, _ := strings.Cut(strings.TrimSuffix(filepath.Base(file), ".prom"), "-")
		if suites[suite] == nil {
			suites[suite] = produced{}
		}
		if err := suites[suite].read(file); err != nil {
			return nil, err
		}
	}
	return suites, nil
}

func (p produced) read(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if m := statusLine.FindStringSubmatch(lines.Text()); m != nil {
			p[m[1]+" "+routeParameter.ReplaceAllString(m[2], "{$1}")+" "+m[3]] = true
		}
	}
	return lines.Err()
}

// statuses compares the documented statuses of every operation with those that the suites have produced. It prints a table
// and fails if one was produced by none.
func statuses(dir string) (string, error) {
	suites, err := readStatuses(dir)
	if err != nil {
		return "", err
	}
	for _, suite := range []string{"tests", "schemathesis"} {
		if len(suites[suite]) == 0 {
			return "", fmt.Errorf("%s has no statuses of %s: run `make statuses`", dir, suite)
		}
	}
	doc, err := openapi.Load()
	if err != nil {
		return "", err
	}
	t := statusTable{columns: documentedStatuses(doc), suites: suites}
	for _, path := range doc.Paths.InMatchingOrder() {
		operations := doc.Paths.Value(path).Operations()
		for _, method := range slices.Sorted(maps.Keys(operations)) {
			t.add(method, path, operations[method])
		}
	}
	slices.Sort(t.rows)
	if len(t.missing) > 0 {
		return "", fmt.Errorf("%s\n\ndocumented, but produced by no test:\n  %s", t.text(), strings.Join(t.missing, "\n  "))
	}
	return t.text(), nil
}

// documentedStatuses are those that any operation documents, but for `default`, in order.
func documentedStatuses(doc *openapi3.T) []string {
	all := map[string]bool{}
	for _, item := range doc.Paths.Map() {
		for _, operation := range item.Operations() {
			for status := range operation.Responses.Map() {
				all[status] = true
			}
		}
	}
	delete(all, "default")
	return slices.Sorted(maps.Keys(all))
}

type statusTable struct {
	columns       []string
	suites        map[string]produced
	rows, missing []string
	documented    int
	covered       map[string]int // by suite
}

// add appends the row of an operation. A cell is T for the project's own tests, S for Schemathesis, B for both, - for a
// documented status that none has produced, and blank for one that is not documented.
func (t *statusTable) add(method, path string, operation *openapi3.Operation) {
	row := fmt.Sprintf("%-28s", operation.OperationID)
	for _, status := range t.columns {
		cell := " "
		if operation.Responses.Value(status) != nil {
			cell = t.cell(method + " " + path + " " + status)
			if cell == "-" {
				t.missing = append(t.missing, operation.OperationID+" "+status)
			}
		}
		row += fmt.Sprintf("%5s", cell)
	}
	t.rows = append(t.rows, strings.TrimRight(row, " "))
}

func (t *statusTable) cell(what string) string {
	t.documented++
	if t.covered == nil {
		t.covered = map[string]int{}
	}
	tests, schemathesis := t.suites["tests"][what], t.suites["schemathesis"][what]
	if tests {
		t.covered["tests"]++
	}
	if schemathesis {
		t.covered["schemathesis"]++
	}
	switch {
	case tests && schemathesis:
		return "B"
	case tests:
		return "T"
	case schemathesis:
		return "S"
	}
	return "-"
}

func (t *statusTable) text() string {
	head := fmt.Sprintf("%-28s", "documented statuses")
	for _, status := range t.columns {
		head += fmt.Sprintf("%5s", status)
	}
	return fmt.Sprintf("%s\n%s\n%d documented statuses; T: produced by tests, %d; S: by Schemathesis, %d; B: by both",
		head, strings.Join(t.rows, "\n"), t.documented, t.covered["tests"], t.covered["schemathesis"])
}
