package tests

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
)

// differences are the rules for intended differences.
type differences struct{ rules []*wireRule }

// A wireRule is an entry of differences.json, and which of its parts were used.
type wireRule struct {
	Rule, Reason string
	Probes       []string // patterns of names
	Ours         string   // pattern of PX360's answer
	Covers       []string // places that may differ
	Throughout   bool     // applies to nearly every answer

	probes  []*regexp.Regexp
	ours    *regexp.Regexp
	covered map[string]bool // probes that it applied to
	used    map[string]bool // patterns and covers that were used
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

// unused lists parts of rules that no probe used: a resolved difference must be removed from the
// list.
func (d *differences) unused() []string {
	var unused []string
	for _, r := range d.rules {
		for _, part := range append(append([]string{}, r.Probes...), r.Covers...) {
			if !r.used[part] {
				unused = append(unused, fmt.Sprintf("%q of %q", part, r.Rule))
			}
		}
	}
	return unused
}

func (d *differences) String() string {
	var text strings.Builder
	for _, r := range d.rules {
		fmt.Fprintf(&text, "%6d  %s\n", len(r.covered), r.Rule)
	}
	return text.String()
}
