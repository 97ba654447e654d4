package localpg

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"syscall"
)

// childAttr puts the child into its own process group, so that Ctrl-C in a terminal does not signal
// the database, and sets the parent-death signal: the kernel sends SIGQUIT when the thread that
// started the child ends. Postgres then shuts down immediately, and the next start replays the WAL.
func childAttr(runAs *account) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Setpgid:    true,
		Pdeathsig:  syscall.SIGQUIT,
		Credential: runAs.credential(),
	}
}

// isPostmaster reports whether the process is a server on this data directory, and not a zombie or
// another process that got the same id.
func isPostmaster(pid int, data string) bool {
	line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return false
	}
	args := bytes.Split(line, []byte{0})
	at := slices.IndexFunc(args, func(arg []byte) bool { return string(arg) == "-D" })
	return at >= 0 && at+1 < len(args) && string(args[at+1]) == data
}
