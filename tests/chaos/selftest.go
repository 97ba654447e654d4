package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	selfTestSeed     = 1
	selfTestDuration = 20 * time.Second
	// leastPatches keeps a self-test that found no patches from passing.
	leastPatches = 4
)

// A broken is a patch that breaks the program. Its head says by which check that is to be found, and under which faults.
// One that no longer applies is renewed: make the same mistake in the sources as they are, and keep the head.
type broken struct {
	path, finds, faults string
}

// selfTest builds each broken program from a copy of the sources, and fails unless the harness finds it.
func selfTest(ctx context.Context, o options) error {
	sources, err := filepath.Abs(o.selfTest)
	if err != nil {
		return err
	}
	paths, err := filepath.Glob(filepath.Join(sources, "tests", "chaos", "broken", "*.patch"))
	if err != nil {
		return err
	}
	if len(paths) < leastPatches {
		return fmt.Errorf("there are %d patches in tests/chaos/broken, at least %d are to be found", len(paths), leastPatches)
	}
	var errs []error
	for _, path := range paths {
		b, err := readBroken(path)
		if err == nil {
			err = b.mustBeFound(ctx, o, sources)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", filepath.Base(path), err))
		}
	}
	return errors.Join(errs...)
}

func readBroken(path string) (broken, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return broken{}, err
	}
	b := broken{path: path}
	for line := range strings.Lines(string(text)) {
		if value, ok := strings.CutPrefix(line, "Finds: "); ok {
			b.finds = strings.TrimSpace(value)
		}
		if value, ok := strings.CutPrefix(line, "Faults: "); ok {
			b.faults = strings.TrimSpace(value)
		}
	}
	if !slices.Contains(allChecks[:], check(b.finds)) || b.faults == "" {
		return b, fmt.Errorf("it must say by which check it is found (Finds: …) and under which faults (Faults: …); it says %q and %q", b.finds, b.faults)
	}
	return b, nil
}

func (b broken) mustBeFound(ctx context.Context, o options, sources string) error {
	dir, err := os.MkdirTemp("", "px360-broken-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if o.binary, err = b.build(ctx, sources, dir); err != nil {
		return err
	}
	o.seed, o.duration, o.only, o.standby = selfTestSeed, selfTestDuration, b.faults, false
	plan, err := o.faults()
	if err != nil {
		return err
	}
	var out bytes.Buffer
	h, err := newHarness(o, &out)
	if err != nil {
		return err
	}
	err = errors.Join(h.run(ctx, plan), h.close(false))
	violations := h.found.count[check(b.finds)]
	if err == nil && violations == 0 {
		err = errors.New("the harness does not find it")
	}
	if err != nil {
		_, _ = io.Copy(os.Stdout, &out)
		return err
	}
	fmt.Printf("%-32s found: %d times not %q, under %d faults\n", filepath.Base(b.path), violations, b.finds, len(plan))
	return nil
}

// build copies the sources that git knows, or would, to dir, applies the patch and builds the program.
func (b broken) build(ctx context.Context, sources, dir string) (binary string, err error) {
	list := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = sources
	names, err := list.Output()
	if err != nil {
		return "", fmt.Errorf("list the sources: %w", err)
	}
	for name := range strings.SplitSeq(strings.Trim(string(names), "\x00"), "\x00") {
		target := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return "", err
		}
		if err := copyFile(filepath.Join(sources, name), target, 0o644); err != nil && !errors.Is(err, os.ErrNotExist) {
			return "", err
		}
	}
	binary = filepath.Join(dir, "px360-broken")
	for _, args := range [][]string{
		{"git", "apply", b.path},
		{"go", "build", "-trimpath", "-o", binary, "."},
	} {
		step := exec.CommandContext(ctx, args[0], args[1:]...)
		step.Dir = dir
		step.Env = append(os.Environ(), "GIT_CEILING_DIRECTORIES="+filepath.Dir(dir)) // the copy is no part of a repository
		if out, err := step.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
		}
	}
	return binary, nil
}
