package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	yaml "github.com/oasdiff/yaml3"
)

// A comparison names the files that are compared, and the program that does it.
type comparison struct{ contract, releasedDir, changelog, oasdiff string }

// A change is one that oasdiff takes for breaking.
type change struct {
	Text      string `json:"text"`
	Operation string `json:"operation"` // the method
	Path      string `json:"path"`
}

// compatible compares the contract with the last released one. A breaking change needs the next minor
// version before 1.0 and the next major one afterwards; every change needs a line in the changelog.
func compatible(c comparison) (summary string, err error) {
	releasedFile, released, err := lastReleased(c.releasedDir)
	if err != nil {
		return "", err
	}
	base, err := os.ReadFile(releasedFile)
	if err != nil {
		return "", err
	}
	revision, err := os.ReadFile(c.contract)
	if err != nil {
		return "", err
	}
	if bytes.Equal(base, revision) {
		return fmt.Sprintf("the contract is the released %s", released), nil
	}
	now, err := contractVersion(c.contract, revision)
	if err != nil {
		return "", err
	}
	changes, err := breakingChanges(c.oasdiff, releasedFile, c.contract)
	if err != nil {
		return "", err
	}
	changelog, err := os.ReadFile(c.changelog)
	if err != nil {
		return "", err
	}
	if err := errors.Join(judge(released, now, changes), judgeChangelog(string(changelog), released, now)); err != nil {
		return "", err
	}
	return fmt.Sprintf("the contract, version %s, has %d breaking changes since the released %s", now, len(changes), released), nil
}

// lastReleased is the file in dir with the highest version.
func lastReleased(dir string) (file string, highest version, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.yaml"))
	if err != nil {
		return "", version{}, err
	}
	for _, f := range files {
		v, err := parseVersion(strings.TrimSuffix(filepath.Base(f), ".yaml"))
		if err != nil {
			return "", version{}, fmt.Errorf("%s: %w", f, err)
		}
		if file == "" || v.compare(highest) > 0 {
			file, highest = f, v
		}
	}
	if file == "" {
		return "", version{}, fmt.Errorf("%s has no contract: run 'make release-contract'", dir)
	}
	return file, highest, nil
}

func contractVersion(file string, contract []byte) (version, error) {
	var doc struct {
		Info struct {
			Version string `yaml:"version"`
		} `yaml:"info"`
	}
	if err := yaml.Unmarshal(contract, &doc); err != nil {
		return version{}, fmt.Errorf("%s: %w", file, err)
	}
	v, err := parseVersion(doc.Info.Version)
	if err != nil {
		return version{}, fmt.Errorf("%s: info.version: %w", file, err)
	}
	return v, nil
}

// severityLevels raises what oasdiff takes for harmless: all of it breaks clients that are generated from
// the contract, or that read a property where it is sent.
const severityLevels = `response-optional-property-removed err
optional-response-header-removed err
api-operation-id-removed err
api-schema-removed err
`

// breakingChanges asks oasdiff. Its warnings, changes that may break a client, count as breaking.
func breakingChanges(oasdiff, base, revision string) ([]change, error) {
	// Without --flatten-allof, a requirement that moves between the parts of an allOf would count.
	command := exec.Command(oasdiff, "breaking", "--flatten-allof", "--severity-levels", "/dev/stdin", "--format", "json", base, revision)
	command.Stdin = strings.NewReader(severityLevels)
	out, err := command.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return nil, fmt.Errorf("oasdiff: %w: %s", err, exit.Stderr)
		}
		return nil, fmt.Errorf("oasdiff: %w (run 'make compatible', which builds it)", err)
	}
	var changes []change
	if err := json.Unmarshal(out, &changes); err != nil {
		return nil, fmt.Errorf("oasdiff's answer: %w", err)
	}
	return changes, nil
}

// judge tells whether a contract of version now may differ from the released one by these changes.
func judge(released, now version, changes []change) error {
	if now.compare(released) < 0 {
		return fmt.Errorf("info.version is %s, lower than the released %s", now, released)
	}
	need := released.nextBreaking()
	if len(changes) == 0 || now.compare(need) >= 0 {
		return nil
	}
	return fmt.Errorf("the contract breaks clients of the released %s, and its version is %s:\n%s\n"+
		"Take the change back, or make it beside the old form. If it is meant, set info.version in %s to %s and describe it in %s",
		released, now, describe(changes), contractFile, need, changelogFile)
}

// describe lists the changes; one of a shared schema has one entry with its operations.
func describe(changes []change) string {
	var texts []string
	operations := map[string][]string{}
	for _, c := range changes {
		operation := strings.TrimSpace(c.Operation + " " + c.Path)
		if operations[c.Text] == nil {
			texts = append(texts, c.Text)
		}
		if !slices.Contains(operations[c.Text], operation) {
			operations[c.Text] = append(operations[c.Text], operation)
		}
	}
	const shown = 3
	var lines []string
	for _, text := range texts {
		at := operations[text]
		rest := ""
		if len(at) > shown {
			at, rest = at[:shown], fmt.Sprintf(" and %d more operations", len(at)-shown)
		}
		lines = append(lines, fmt.Sprintf("  - %s\n      in %s%s", text, strings.Join(at, ", "), rest))
	}
	return strings.Join(lines, "\n")
}

// judgeChangelog demands text in a section of the changelog that is newer than the released version's.
func judgeChangelog(changelog string, released, now version) error {
	for _, section := range strings.Split(changelog, "\n## [")[1:] {
		title, text, _ := strings.Cut(section, "]")
		if title == released.String() {
			break
		}
		if _, text, _ = strings.Cut(text, "\n"); title == "Unreleased" || title == now.String() {
			for line := range strings.Lines(text) {
				if strings.HasPrefix(line, "- ") {
					return nil
				}
			}
		}
	}
	return fmt.Errorf("%s tells nothing newer than %s, but the contract has changed: describe the change under [Unreleased]", changelogFile, released)
}
