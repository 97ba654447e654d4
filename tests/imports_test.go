package tests

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The structure of the repository: allowed imports, top-level files, generated code, file lengths.

const module = "github.com/px360/px360"

// allowedImports lists which areas an area may import. An area is a directory with its
// subdirectories, except for those that are areas themselves.
var allowedImports = map[string][]string{
	".":                      {"server", "server/limits", "worker", "worker/actions", "worker/channels", "worker/surveys", "worker/webhooks", "queries", "schema", "schema/localpg", "gen/client", "tests/examples", "tests/hospitalday"},
	"openapi":                {},
	"gen/api":                {},
	"gen/client":             {},
	"gen/db":                 {},
	"schema":                 {},
	"schema/localpg":         {},
	"queries":                {"gen/db"},
	"queries/rules":          {},
	"queries/rules/outbound": {},
	"worker/webhooks":        {"queries", "queries/rules", "queries/rules/outbound", "queries/sla", "gen/db", "worker/polling"},
	"queries/facts":          {"gen/db", "queries/rules"},
	"queries/sla":            {"gen/db", "queries", "queries/rules"},
	"server": {
		"openapi", "gen/api", "gen/db", "queries", "queries/rules", "queries/rules/outbound", "queries/facts", "queries/sla", "server/auth", "server/contract", "server/limits", "server/problem",
		"server/surveypage",
		"schema", // readiness checks its version
	},
	"server/auth":       {},
	"server/contract":   {"server/auth", "server/problem"},
	"server/limits":     {"gen/db", "queries", "server/problem"},
	"server/problem":    {"queries"},
	"server/surveypage": {"queries/rules"},
	"worker":            {"queries", "queries/facts", "queries/rules", "gen/db"},
	"worker/channels":   {},
	"worker/polling":    {"queries"},
	"worker/actions":    {"queries", "queries/rules", "queries/sla", "gen/db", "worker/channels", "worker/polling"},
	"worker/surveys":    {"queries", "queries/rules", "gen/db", "worker/channels", "worker/polling"},
	"tests/chaos":       {"schema/localpg", "gen/client", "tests/hospitalday"},
	"tests/dbtest":      {"schema", "schema/localpg"},
	"tests/examples":    {}, // px360 demo --examples uses it
	"tests/fixtures":    {"gen/db"},
	"tests/hospitalday": {"gen/client"}, // px360 demo uses it
	"tests":             {"openapi", "gen/api", "gen/client", "gen/db", "queries", "queries/rules", "schema", "schema/localpg", "server", "server/auth", "server/limits", "worker", "worker/actions", "worker/channels", "worker/surveys", "worker/webhooks", "queries/rules/outbound", "tests/dbtest", "tests/examples", "tests/fixtures", "tests/hospitalday"},
	// Modules of their own, not checked.
	"tests/bench":       nil,
	"tests/partners/go": nil,
	"tests/released":    nil,
}

// testHelpers are what the tests of every area may import in addition.
var testHelpers = []string{"openapi", "tests/dbtest", "tests/fixtures", "tests/hospitalday", "gen/client", "schema/localpg"}

func TestAllowedImports(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	eachGoFile(t, func(name string, file *ast.File, _ []byte) {
		from := areaOf(path.Dir(name))
		seen[from] = true
		if allowedImports[from] == nil {
			return
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			must(t, err)
			below, internal := strings.CutPrefix(imported+"/", module+"/")
			if !internal {
				continue
			}
			to := areaOf(strings.TrimSuffix(path.Clean(below), "/"))
			isTest := strings.HasSuffix(name, "_test.go")
			if to != from && !slices.Contains(allowedImports[from], to) && !(isTest && slices.Contains(testHelpers, to)) {
				t.Errorf("%s imports %s: %s must not import %s", name, imported, from, to)
			}
		}
	})
	for area := range allowedImports {
		if !seen[area] {
			t.Errorf("there is no Go file in %s: allowedImports is out of date", area)
		}
	}
}

// areaOf is the area of a directory.
func areaOf(dir string) string {
	for dir != "." && dir != "" {
		if _, found := allowedImports[dir]; found {
			return dir
		}
		dir = path.Dir(dir)
	}
	return "."
}

// The rules depend on no database and no HTTP, only on UUIDs.
func TestRulesDependencies(t *testing.T) {
	t.Parallel()
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "./queries/rules")
	list.Dir = ".."
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	if got, want := strings.Fields(string(out)), []string{"github.com/google/uuid", module + "/queries/rules"}; !slices.Equal(got, want) {
		t.Errorf("the rules depend on %v, want %v", got, want)
	}
}

// The client depends neither on the server's framework nor on a database driver.
func TestClientDependencies(t *testing.T) {
	t.Parallel()
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "./gen/client")
	list.Dir = ".."
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	deps := strings.Fields(string(out))
	if !slices.Contains(deps, module+"/gen/client") || !slices.Contains(deps, "net/http") {
		t.Fatalf("go list returned %v, which lacks the client and net/http", deps)
	}
	for _, dep := range deps {
		for _, forbidden := range []string{"github.com/labstack/echo", "github.com/jackc/pgx", "github.com/getkin/kin-openapi"} {
			if strings.HasPrefix(dep, forbidden) {
				t.Errorf("the client imports %s", dep)
			}
		}
		if internal, ok := strings.CutPrefix(dep, module+"/"); ok && internal != "gen/client" {
			t.Errorf("the client imports %s", dep)
		}
	}
}

func TestTopLevelFiles(t *testing.T) {
	t.Parallel()
	known := []string{
		"main.go", "commands.go", "config.go", "openapi", "gen", "schema", "queries", "server", "worker", "tests",
		"sqlc.yaml", "oapi-codegen.yaml", "Makefile", "go.mod", "go.sum", "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", ".ci",
		"main_test.go", "commands_test.go", "config_test.go", ".git", ".gitignore",
	}
	entries, err := os.ReadDir("..")
	must(t, err)
	for _, e := range entries {
		if !slices.Contains(known, e.Name()) && !ignored(t, e.Name()) {
			t.Errorf("%s does not belong at the top level", e.Name())
		}
	}
	generated, err := os.ReadDir("../gen")
	must(t, err)
	for _, e := range generated {
		if !slices.Contains([]string{"api", "client", "db"}, e.Name()) {
			t.Errorf("%s does not belong into gen", e.Name())
		}
	}
}

// Everything under gen is generated, except for some files of the client.
func TestGeneratedCodeIsGenerated(t *testing.T) {
	t.Parallel()
	handWritten := []string{
		"auth.go", "bulk.go", "call.go", "client.go", "doc.go", "errors.go", "events.go", "pages.go", "retry.go", "values.go", "webhook.go",
	}
	eachGoFile(t, func(name string, file *ast.File, _ []byte) {
		inGen := strings.HasPrefix(name, "gen/")
		exception := path.Dir(name) == "gen/client" && (slices.Contains(handWritten, path.Base(name)) || strings.HasSuffix(name, "_test.go"))
		if ast.IsGenerated(file) != (inGen && !exception) {
			t.Errorf("%s: generated is %v", name, ast.IsGenerated(file))
		}
	})
}

func TestFileLengths(t *testing.T) {
	t.Parallel()
	const maxLines = 600
	eachGoFile(t, func(name string, file *ast.File, text []byte) {
		if lines := bytes.Count(text, []byte("\n")); lines > maxLines && !ast.IsGenerated(file) {
			t.Errorf("%s has %d lines: split it", name, lines)
		}
	})
}

// eachGoFile visits the Go files of the repository; name is the path from its root.
func eachGoFile(t *testing.T, visit func(name string, file *ast.File, text []byte)) {
	t.Helper()
	must(t, filepath.WalkDir("..", func(osPath string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel("..", osPath)
		if err != nil {
			return err
		}
		if name = filepath.ToSlash(name); entry.IsDir() && (name == ".git" || entry.Name() == "testdata" || ignored(t, name)) {
			return filepath.SkipDir
		}
		if entry.IsDir() || path.Ext(name) != ".go" {
			return nil
		}
		text, err := os.ReadFile(osPath)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			return err
		}
		visit(name, file, text)
		return nil
	}))
}

// ignored reports whether .gitignore lists a name.
func ignored(t *testing.T, name string) bool {
	t.Helper()
	text, err := os.ReadFile("../.gitignore")
	must(t, err)
	for pattern := range strings.FieldsSeq(string(text)) {
		if matched, _ := path.Match(strings.Trim(pattern, "/"), name); matched {
			return true
		}
	}
	return false
}
