package tests

import (
	"bytes"
	"flag"
	"fmt"
	"go/ast"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/px360/px360/tests/dbtest"
)

var updateReadme = flag.Bool("update", false, "write what the server really prints into the README's tour")

const readme = "../README.md"

// TestReadmeTour runs the commands of the README's tour in a shell, against a real server and
// worker, and compares the output with the README, except for ids, tokens and times.
func TestReadmeTour(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(readme)
	must(t, err)
	s := start(t)
	steps := tourSteps(string(text))
	if len(steps) < 10 {
		t.Fatalf("the tour has %d commands; was its form changed?", len(steps))
	}
	outputs := s.runInShell(steps)
	if *updateReadme {
		must(t, os.WriteFile(readme, []byte(rewritten(string(text), outputs)), 0o644))
		return
	}
	// In the next second, so that the visit has another number, it can be taken again.
	taken := time.Now().Unix()
	dbtest.Eventually(t, "the next second", func() bool { return time.Now().Unix() > taken })
	outputs, again := s.runInShell(steps), outputs
	for i := range steps {
		if normal(outputs[i]) != normal(again[i]) {
			t.Errorf("$ %s\nprints at the second time\n%s\nand at the first\n%s", steps[i].command, outputs[i], again[i])
		}
	}
	for i, step := range steps {
		if normal(outputs[i]) != normal(step.output) {
			t.Errorf("$ %s\nprints\n%s\nand the README says\n%s", step.command, outputs[i], step.output)
		}
	}
}

// TestReadmeExamples holds the README's programs to those that run: the Go example, which is a test, and the programs that
// make partners runs.
func TestReadmeExamples(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(readme)
	must(t, err)
	for language, source := range map[string]string{
		"go":     "../gen/client/example_test.go",
		"ts":     "partners/typescript/openapi-fetch/partner.ts",
		"python": "partners/python/openapi-generator/partner.py",
	} {
		program, err := os.ReadFile(source)
		must(t, err)
		blocks := regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(text), -1)
		for _, block := range blocks {
			if !strings.Contains(unindented(string(program)), unindented(block[1])) {
				t.Errorf("this is not in %s:\n%s", source, block[1])
			}
		}
		if len(blocks) == 0 {
			t.Errorf("the README has no block of %s", language)
		}
	}
}

// TestReadmePromisesNameTests looks for the tests that the README names as holding its promises.
func TestReadmePromisesNameTests(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(readme)
	must(t, err)
	tests := map[string]bool{}
	declaration := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	eachGoFile(t, func(_ string, _ *ast.File, source []byte) {
		for _, found := range declaration.FindAllSubmatch(source, -1) {
			tests[string(found[1])] = true
		}
	})
	_, promises, _ := strings.Cut(string(text), "### What to rely on")
	promises, _, _ = strings.Cut(promises, "\n## Pipelines")
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z]+)`").FindAllStringSubmatch(promises, -1)
	for _, name := range named {
		if !tests[name[1]] {
			t.Errorf("the README names %s, which is no test", name[1])
		}
	}
	if promised := regexp.MustCompile(`(?m)^\d+\. `).FindAllString(promises, -1); len(promised) < 13 || len(named) < len(promised) {
		t.Errorf("%d promises name %d tests", len(promised), len(named))
	}
}

func unindented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(strings.TrimSpace(line) + "\n")
	}
	return b.String()
}

type tourStep struct{ command, output string }

var consoleBlock = regexp.MustCompile("(?s)```console\n(.*?)```")

func tourSteps(text string) (steps []tourStep) {
	for _, block := range consoleBlock.FindAllStringSubmatch(text, -1) {
		for line := range strings.Lines(block[1]) {
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				steps = append(steps, tourStep{command: strings.TrimSpace(command)})
			} else {
				steps[len(steps)-1].output += line
			}
		}
	}
	return steps
}

// runInShell runs the commands in one shell, whose home has the password file of `px360 up`, and
// returns the output of each. Where the tour says that a moment passes, it waits for the worker.
func (s *system) runInShell(steps []tourStep) []string {
	s.t.Helper()
	home := s.t.TempDir()
	secret := filepath.Join(home, ".local/share/px360/admin-password")
	must(s.t, os.MkdirAll(filepath.Dir(secret), 0o700))
	must(s.t, os.WriteFile(secret, []byte(adminPassword+"\n"), 0o600))
	const mark = "-- end of step --"
	var script strings.Builder
	for _, step := range steps {
		if strings.Contains(step.command, "/progress/") {
			// Wait for the worker, as the reader of the tour does.
			fmt.Fprintf(&script, "while px '/integrations/events/?status=pending' | grep -qv '\"count\":0'; do :; done\n")
		}
		fmt.Fprintf(&script, "%s\necho '%s'\n", strings.ReplaceAll(step.command, "http://127.0.0.1:8000", s.url), mark)
	}
	shell := exec.Command("bash")
	shell.Env = append(os.Environ(), "HOME="+home)
	shell.Stdin = strings.NewReader(script.String())
	var out, errs bytes.Buffer
	shell.Stdout, shell.Stderr = &out, &errs
	if err := shell.Run(); err != nil || errs.Len() > 0 {
		s.t.Fatalf("the tour's shell: %v\n%s", err, errs.String())
	}
	outputs := strings.Split(out.String(), mark+"\n")
	if len(outputs) != len(steps)+1 {
		s.t.Fatalf("%d outputs of %d commands\n%s", len(outputs)-1, len(steps), out.String())
	}
	for i := range outputs {
		// A response ends without a newline, so the mark is on its last line.
		outputs[i] = strings.TrimSuffix(strings.ReplaceAll(outputs[i], s.url, "http://127.0.0.1:8000"), "\n")
	}
	return outputs[:len(steps)]
}

var changing = []struct {
	pattern *regexp.Regexp
	name    string
}{
	{regexp.MustCompile(`eyJ[\w.-]+`), "<token>"},
	{regexp.MustCompile(`ENC\d{10}`), "<visit>"},
	{regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`), "<id>"},
	{regexp.MustCompile(`"(created_at|updated_at|received_at|started_at|processed_at|completed_at)":"[^"]*`), `"$1":"<time>`},
}

func normal(output string) string {
	for _, c := range changing {
		output = c.pattern.ReplaceAllString(output, c.name)
	}
	return strings.TrimSpace(output)
}

// rewritten is the README with the actual output of each command.
func rewritten(text string, outputs []string) string {
	i := 0
	return consoleBlock.ReplaceAllStringFunc(text, func(block string) string {
		var b strings.Builder
		b.WriteString("```console\n")
		for line := range strings.Lines(block) {
			if !strings.HasPrefix(line, "$ ") {
				continue
			}
			b.WriteString(line)
			if outputs[i] != "" {
				b.WriteString(strings.TrimSpace(outputs[i]) + "\n")
			}
			i++
		}
		return b.String() + "```"
	})
}
