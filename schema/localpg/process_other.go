//go:build unix && !linux

package localpg

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// childAttr puts the child into its own process group, so that Ctrl-C in a terminal does not signal
// the database. Only Linux has a parent-death signal: elsewhere the server of a killed program runs
// until the next start stops it.
func childAttr(runAs *account) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Credential: runAs.credential()}
}

// isPostmaster reports whether the process is a server on this data directory, and not a zombie or
// another process that got the same id.
func isPostmaster(pid int, data string) bool {
	line, err := exec.Command("ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(string(line), " -D "+data+" ")
}
