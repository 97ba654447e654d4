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

// What may know what, and what belongs where: the shape of the program, held by tests because a
// compiler would let it slip.

const module = "github.com/px360/px360"

// arrows says which rooms of the house a room may import. A room is a directory with all below it
// that is no room itself.
var arrows = map[string][]string{
	".":                 {"server", "worker", "queries", "schema", "schema/localpg", "gen/client", "tests/hospitalday"},
	"openapi":           {},
	"gen/api":           {},
	"gen/client":        {},
	"gen/db":            {},
	"schema":            {},
	"schema/localpg":    {},
	"queries":           {"gen/db"},
	"queries/rules":     {},
	"server":            {"openapi", "gen/api", "queries", "queries/rules", "gen/db", "schema", "server/auth"}, // schema: to be ready is to have the right one
	"server/auth":       {},
	"worker":            {"queries", "queries/rules", "gen/db"},
	"tests/dbtest":      {"schema", "schema/localpg"},
	"tests/fixtures":    {"gen/db"},
	"tests/hospitalday": {"gen/client"}, // the demo is part of the program
	"tests":             {"openapi", "gen/api", "gen/client", "gen/db", "queries", "schema", "schema/localpg", "server", "server/auth", "worker", "tests/dbtest", "tests/fixtures", "tests/hospitalday"},
	"tests/bench":       nil, // a module of its own, which only tests the program
}

// helpers are what the tests of every room may import besides.
var helpers = []string{"tests/dbtest", "tests/fixtures", "tests/hospitalday", "gen/client", "schema/localpg"}

func TestArrows(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	eachGoFile(t, func(name string, file *ast.File, _ []byte) {
		from := roomOf(path.Dir(name))
		seen[from] = true
		if arrows[from] == nil {
			return
		}
		for _, spec := range file.Imports {
			imported, err := strconv.Unquote(spec.Path.Value)
			must(t, err)
			below, ours := strings.CutPrefix(imported+"/", module+"/")
			if !ours {
				continue
			}
			to := roomOf(strings.TrimSuffix(path.Clean(below), "/"))
			isTest := strings.HasSuffix(name, "_test.go")
			if to != from && !slices.Contains(arrows[from], to) && !(isTest && slices.Contains(helpers, to)) {
				t.Errorf("%s imports %s: %s must not know of %s", name, imported, from, to)
			}
		}
	})
	for room := range arrows {
		if !seen[room] {
			t.Errorf("there is no Go file in %s: the arrows are out of date", room)
		}
	}
}

// roomOf is the room that a directory is in.
func roomOf(dir string) string {
	for dir != "." && dir != "" {
		if _, found := arrows[dir]; found {
			return dir
		}
		dir = path.Dir(dir)
	}
	return "."
}

// The rules import nothing but UUIDs: no database, no HTTP.
func TestRulesArePure(t *testing.T) {
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

// A partner who imports the client gets neither the server's framework nor a database driver with it.
func TestClientIsLight(t *testing.T) {
	t.Parallel()
	list := exec.CommandContext(t.Context(), "go", "list", "-deps", "./gen/client")
	list.Dir = ".."
	out, err := list.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	deps := strings.Fields(string(out))
	if !slices.Contains(deps, module+"/gen/client") || !slices.Contains(deps, "net/http") {
		t.Fatalf("these are not the client's dependencies: %v", deps)
	}
	for _, dep := range deps {
		for _, heavy := range []string{"github.com/labstack/echo", "github.com/jackc/pgx", "github.com/getkin/kin-openapi"} {
			if strings.HasPrefix(dep, heavy) {
				t.Errorf("the client imports %s", dep)
			}
		}
		if ours, is := strings.CutPrefix(dep, module+"/"); is && ours != "gen/client" {
			t.Errorf("the client imports %s", dep)
		}
	}
}

func TestTopLevelIsTidy(t *testing.T) {
	t.Parallel()
	known := []string{
		"main.go", "commands.go", "config.go", "openapi", "gen", "schema", "queries", "server", "worker", "tests",
		"sqlc.yaml", "oapi-codegen.yaml", "Makefile", "go.mod", "go.sum", "README.md", "CHANGELOG.md", ".ci",
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

// Of what is under gen, only a few files that make the client a client are written by hand.
func TestGeneratedCodeIsGenerated(t *testing.T) {
	t.Parallel()
	byHand := []string{"auth.go", "retry.go", "pages.go", "errors.go", "webhook.go"}
	eachGoFile(t, func(name string, file *ast.File, _ []byte) {
		inGen := strings.HasPrefix(name, "gen/")
		exception := path.Dir(name) == "gen/client" && (slices.Contains(byHand, path.Base(name)) || strings.HasSuffix(name, "_test.go"))
		if ast.IsGenerated(file) != (inGen && !exception) {
			t.Errorf("%s: generated is %v", name, ast.IsGenerated(file))
		}
	})
}

func TestFilesAreOfAReadableLength(t *testing.T) {
	t.Parallel()
	const most = 600
	eachGoFile(t, func(name string, file *ast.File, text []byte) {
		if lines := bytes.Count(text, []byte("\n")); lines > most && !ast.IsGenerated(file) {
			t.Errorf("%s has %d lines: look for the noun that wants out", name, lines)
		}
	})
}

// eachGoFile visits the program's Go files, by their path from the top.
func eachGoFile(t *testing.T, visit func(name string, file *ast.File, text []byte)) {
	t.Helper()
	must(t, filepath.WalkDir("..", func(where string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel("..", where)
		if err != nil {
			return err
		}
		if name = filepath.ToSlash(name); entry.IsDir() && (name == ".git" || entry.Name() == "testdata" || ignored(t, name)) {
			return filepath.SkipDir
		}
		if entry.IsDir() || path.Ext(name) != ".go" {
			return nil
		}
		text, err := os.ReadFile(where)
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

// ignored tells whether version control ignores a name at the top level.
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
