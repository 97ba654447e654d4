// Command check judges openapi/openapi.yaml, from the root of the repository: `check valid` whether it
// is a valid OpenAPI document whose examples match their schemas, `check compatible` whether its version
// tells the truth about how it differs from the last released contract, `check mock` whether Prism can
// stand in for the server, `check statuses DIR` whether tests have produced every status that it documents.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/px360/px360/openapi"
)

const (
	contractFile  = "openapi/openapi.yaml"
	releasedDir   = "openapi/released"
	changelogFile = "CHANGELOG.md"
	// The Makefile installs these.
	oasdiffProgram = "bin/oasdiff"
	prismProgram   = "openapi/lint/node_modules/.bin/prism"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 || len(args) != 1 && args[0] != "statuses" {
		return errors.New("usage: check valid|compatible|mock|statuses DIR")
	}
	var summary string
	var err error
	switch args[0] {
	case "valid":
		err = valid()
	case "compatible":
		summary, err = compatible(comparison{
			contract: contractFile, releasedDir: releasedDir, changelog: changelogFile, oasdiff: filepath.FromSlash(oasdiffProgram),
		})
	case "mock":
		summary, err = mock(filepath.FromSlash(prismProgram), contractFile)
	case "statuses":
		if len(args) != 2 {
			return errors.New("usage: check statuses DIR")
		}
		summary, err = statuses(args[1])
	default:
		err = fmt.Errorf("unknown check %q, want valid, compatible, mock or statuses", args[0])
	}
	if err == nil && summary != "" {
		fmt.Println(summary)
	}
	return err
}

// valid reads the contract as the server does when it starts.
func valid() error {
	if _, err := openapi.Load(); err != nil {
		return fmt.Errorf("%s: %w", contractFile, err)
	}
	return nil
}
