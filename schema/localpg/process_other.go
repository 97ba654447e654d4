//go:build unix && !linux

package localpg

import (
	"os/exec"
	"strconv"
	"strings"
	"syscall"
)

// childAttr puts a child into a process group of its own, so that Ctrl-C in a
// terminal reaches us and not the database under us. Only Linux can tie the life
// of a child to ours: elsewhere a killed program leaves its server running until
// the next start finds it.
func childAttr(runAs *account) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Credential: runAs.credential()}
}

// isPostmaster reports whether the process is a server on this data directory,
// and not a zombie or a stranger that got its number.
func isPostmaster(pid int, data string) bool {
	line, err := exec.Command("ps", "-ww", "-o", "command=", "-p", strconv.Itoa(pid)).Output()
	return err == nil && strings.Contains(string(line), " -D "+data+" ")
}
