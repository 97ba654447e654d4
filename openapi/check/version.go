package main

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
)

// A version is one of Semantic Versioning, without pre-release and build parts.
type version struct{ major, minor, patch int }

var versionPattern = regexp.MustCompile(`^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$`)

func parseVersion(text string) (version, error) {
	parts := versionPattern.FindStringSubmatch(text)
	if parts == nil {
		return version{}, fmt.Errorf("version %q: want MAJOR.MINOR.PATCH, such as 0.2.0", text)
	}
	var numbers [3]int
	for i := range numbers {
		n, err := strconv.Atoi(parts[i+1])
		if err != nil {
			return version{}, fmt.Errorf("version %q: %w", text, err)
		}
		numbers[i] = n
	}
	return version{numbers[0], numbers[1], numbers[2]}, nil
}

func (v version) String() string { return fmt.Sprintf("%d.%d.%d", v.major, v.minor, v.patch) }

func (v version) compare(w version) int {
	return cmp.Or(cmp.Compare(v.major, w.major), cmp.Compare(v.minor, w.minor), cmp.Compare(v.patch, w.patch))
}

// nextBreaking is the lowest version that may break what v promised: before 1.0 the next minor version,
// afterwards the next major one.
func (v version) nextBreaking() version {
	if v.major == 0 {
		return version{0, v.minor + 1, 0}
	}
	return version{v.major + 1, 0, 0}
}
