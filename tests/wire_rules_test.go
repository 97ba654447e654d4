package tests

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// differences are the rules by which PX360 answers differently on purpose.
type differences struct{ rules []*wireRule }

// A wireRule is one entry of differences.json, and what of it was needed.
type wireRule struct {
	Rule, Reason string
	Probes       []string // patterns of names
	Ours         string   // pattern of PX360's answer
	Covers       []string // what may differ
	Throughout   bool     // concerns nearly every answer

	probes  []*regexp.Regexp
	ours    *regexp.Regexp
	covered map[string]bool // probes that needed it
	used    map[string]bool // patterns and covers that were needed
}

func readDifferences(t *testing.T) *differences {
	t.Helper()
	d := &differences{}
	readJSON(t, "differences.json", &d.rules)
	for _, r := range d.rules {
		if r.Rule == "" || r.Reason == "" || r.Ours == "" || len(r.Covers) == 0 {
			t.Fatalf("differences.json: %+v is incomplete", r)
		}
		for _, pattern := range r.Probes {
			r.probes = append(r.probes, regexp.MustCompile(pattern))
		}
		r.ours = regexp.MustCompile(r.Ours)
		r.covered, r.used = map[string]bool{}, map[string]bool{}
	}
	return d
}

// covering is the first rule that covers the difference, nil if none does.
func (d *differences) covering(name string, ours wireAnswer, at difference) *wireRule {
	for _, r := range d.rules {
		for i, pattern := range r.probes {
			if !pattern.MatchString(name) || !r.ours.MatchString(ours.String()) {
				continue
			}
			for _, cover := range r.Covers {
				if at.within(cover) {
					r.covered[name], r.used[r.Probes[i]], r.used[cover] = true, true, true
					return r
				}
			}
		}
	}
	return nil
}

// idle lists what no probe needed: a difference that is none any more must not stay on the list.
func (d *differences) idle() []string {
	var idle []string
	for _, r := range d.rules {
		for _, part := range append(append([]string{}, r.Probes...), r.Covers...) {
			if !r.used[part] {
				idle = append(idle, fmt.Sprintf("%q of %q", part, r.Rule))
			}
		}
	}
	return idle
}

func (d *differences) String() string {
	var text strings.Builder
	for _, r := range d.rules {
		fmt.Fprintf(&text, "%6d  %s\n", len(r.covered), r.Rule)
	}
	return text.String()
}
