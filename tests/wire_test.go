package tests

import (
	"compress/gzip"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestWire sends the recorded requests and compares the answers with the recorded ones; see
// testdata/wire/README.md. Every difference must be covered by a rule.
func TestWire(t *testing.T) {
	t.Parallel()
	var probes []probe
	readGzip(t, "probes.json.gz", &probes)
	var recorded map[string]wireAnswer
	readGzip(t, "answers.json.gz", &recorded)
	rules := readDifferences(t)

	r := newReplay(start(t))
	r.prepare()
	score := wireScore{}
	for _, p := range probes {
		want, found := recorded[p.Name]
		if !found {
			t.Fatalf("%s has no recorded answer", p.Name)
		}
		got := r.answer(p, want)
		score.count(p.Basis, judge(t, rules, p, want, got))
	}
	for _, unused := range rules.unused() {
		t.Errorf("differences.json: %s is used by no probe", unused)
	}
	t.Logf("replay of %d probes\n%s\n%s", len(probes), score, rules)
}

// verdict is the result of comparing an answer.
type verdict int

const (
	agree      verdict = iota
	throughout         // differs only as rules with throughout allow
	byRule
	unexplained
)

// judge compares one answer, and fails the test for differences that no rule covers.
func judge(t *testing.T, rules *differences, p probe, want, got wireAnswer) verdict {
	t.Helper()
	v := agree
	var open []string
	for _, d := range compareAnswers(p, want, got) {
		rule := rules.covering(p.Name, got, d)
		switch {
		case rule == nil:
			v = unexplained
			open = append(open, d.String())
		case !rule.Throughout:
			v = max(v, byRule)
		default:
			v = max(v, throughout)
		}
	}
	if len(open) > 0 {
		t.Errorf("%s (%s) %s %s\n    %s", p.Name, p.Basis, p.Method, p.Path, strings.Join(open, "\n    "))
	}
	return v
}

// wireScore counts verdicts by basis.
type wireScore map[string]*[4]int

func (s wireScore) count(basis string, v verdict) {
	for _, row := range []string{basis, "all"} {
		if s[row] == nil {
			s[row] = &[4]int{}
		}
		s[row][v]++
	}
}

func (s wireScore) String() string {
	text := fmt.Sprintf("%-8s%8s%8s%12s%9s%13s", "basis", "probes", "agree", "but Allow", "by rule", "unexplained")
	for _, basis := range []string{"doc", "stack", "choice", "all"} {
		if n := s[basis]; n != nil {
			text += fmt.Sprintf("\n%-8s%8d%8d%12d%9d%13d", basis, n[agree]+n[throughout]+n[byRule]+n[unexplained], n[agree], n[throughout], n[byRule], n[unexplained])
		}
	}
	return text
}

func wireFile(name string) string { return filepath.Join("testdata", "wire", name) }

func readJSON(t testing.TB, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(wireFile(name))
	must(t, err)
	must(t, json.Unmarshal(text, into))
}

func readGzip(t testing.TB, name string, into any) {
	t.Helper()
	file, err := os.Open(wireFile(name))
	must(t, err)
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	must(t, err)
	must(t, json.NewDecoder(unzipped).Decode(into))
}
