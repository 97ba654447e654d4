package main

import (
	"strings"
	"testing"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	breaking := []change{{Text: "removed the property `name`", Operation: "GET", Path: "/api/a/"}, {Text: "removed the property `name`", Operation: "GET", Path: "/api/b/"}}
	for _, c := range []struct {
		released, now string
		changes       []change
		want          string // part of the error, empty if there is none
	}{
		{"0.1.0", "0.1.0", nil, ""},
		{"0.1.0", "0.1.1", nil, ""},
		{"0.1.0", "0.2.0", breaking, ""},
		{"0.1.0", "1.0.0", breaking, ""},
		{"1.2.3", "2.0.0", breaking, ""},
		{"0.1.0", "0.1.0", breaking, "to 0.2.0"},
		{"0.1.0", "0.1.1", breaking, "in GET /api/a/, GET /api/b/"},
		{"1.2.3", "1.3.0", breaking, "to 2.0.0"},
		{"0.2.0", "0.1.9", nil, "lower than the released 0.2.0"},
	} {
		released, err := parseVersion(c.released)
		if err != nil {
			t.Fatal(err)
		}
		now, err := parseVersion(c.now)
		if err != nil {
			t.Fatal(err)
		}
		err = judge(released, now, c.changes)
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("from %s to %s with %d breaking changes: %v, want %q", c.released, c.now, len(c.changes), err, c.want)
		}
	}
}

func TestParseVersion(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "1.0", "v1.0.0", "01.0.0", "1.0.0-rc.1", "1.0.99999999999999999999"} {
		if v, err := parseVersion(bad); err == nil {
			t.Errorf("%q is read as %s", bad, v)
		}
	}
}

func TestJudgeChangelog(t *testing.T) {
	t.Parallel()
	for changelog, good := range map[string]bool{
		"# Changelog\n\n## [Unreleased]\n\n### Added\n\n- A thing.\n":                                         true,
		"# Changelog\n\n## [Unreleased]\n\n## [0.2.0] - 2026-01-01\n\n- A thing.\n\n## [0.1.0]\n\n- First.\n": true,
		"# Changelog\n\n## [Unreleased]\n\n## [0.1.0] - 2026-01-01\n\n- First.\n":                             false,
		"# Changelog\n": false,
	} {
		if err := judgeChangelog(changelog, version{0, 1, 0}, version{0, 2, 0}); (err == nil) != good {
			t.Errorf("%q: %v", changelog, err)
		}
	}
}
