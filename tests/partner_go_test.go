package tests

import (
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/px360/px360/gen/client"
	"github.com/px360/px360/openapi"
)

// TestPartnerInGo builds a partner's program, in a module of its own, and runs it against a real server.
func TestPartnerInGo(t *testing.T) {
	t.Parallel()
	s := startServer(t)
	program := filepath.Join(t.TempDir(), "partner")
	build := exec.CommandContext(t.Context(), "go", "build", "-mod=readonly", "-o", program, ".")
	build.Dir = "partners/go"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	run := exec.CommandContext(t.Context(), program, "-url", s.url, "-username", adminName, "-password", adminPassword)
	run.Stderr = os.Stderr
	out, err := run.Output()
	const want = `logged in as admin
refused: "F" is not a valid choice.
refused: Not found.
patient MRN-0
patient MRN-1
patient MRN-2
event stored, duplicate: false
event stored, duplicate: true
bulk: 1498 created, 1 duplicates, 1 refused
event 1200: refused map[encounter_id:[This field may not be blank.]]
`
	if err != nil || string(out) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, out, want)
	}
}

// TestClientHasEveryOperation looks for each operation of the contract among the client's methods, and for an iterator
// over each list.
func TestClientHasEveryOperation(t *testing.T) {
	t.Parallel()
	doc, err := openapi.Load()
	must(t, err)
	methods := reflect.TypeFor[*client.Client]()
	for _, item := range doc.Paths.Map() {
		for _, operation := range item.Operations() {
			name := strings.ToUpper(operation.OperationID[:1]) + operation.OperationID[1:]
			_, found := methods.MethodByName(name)
			if noun, isList := strings.CutPrefix(name, "List"); found && isList {
				_, found = methods.MethodByName("All" + noun)
			}
			if !found {
				t.Errorf("the client has no %s", name)
			}
		}
	}
}

// TestClientCompilesWithGo125 compiles the client as Go 1.25 would, in a module of its own: the compiler refuses newer
// language, and vet newer functions of the standard library.
func TestClientCompilesWithGo125(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	sources, err := filepath.Glob("../gen/client/*.go")
	must(t, err)
	if len(sources) < 10 {
		t.Fatalf("the client has the files %v", sources)
	}
	for _, source := range append(sources, "partners/go/go.sum") {
		if matched, _ := filepath.Match("*_test.go", filepath.Base(source)); matched {
			continue
		}
		text, err := os.ReadFile(source)
		must(t, err)
		must(t, os.WriteFile(filepath.Join(dir, filepath.Base(source)), text, 0o644))
	}
	vet := exec.CommandContext(t.Context(), "sh", "-c", `
		go mod init example.org/client && go mod edit -go=1.25.0 &&
		for module in github.com/cenkalti/backoff/v5 github.com/google/uuid github.com/oapi-codegen/nullable github.com/oapi-codegen/runtime; do
			go mod edit -require="$module@$(cd "$0" && go list -m -f '{{.Version}}' $module)"
		done &&
		go vet ./...`, absolute(t, "partners/go"))
	vet.Dir = dir
	vet.Env = append(os.Environ(), "GOFLAGS=-mod=mod")
	if out, err := vet.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func absolute(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(name)
	must(t, err)
	return path
}
