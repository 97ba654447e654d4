package localpg

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"syscall"
)

// childAttr puts a child into a process group of its own, so that Ctrl-C in a
// terminal reaches us and not the database under us, and has the kernel end it
// when the thread that started it ends. SIGQUIT is Postgres's immediate
// shutdown: the next start replays the log instead of waiting for this one.
func childAttr(runAs *account) *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Setpgid:    true,
		Pdeathsig:  syscall.SIGQUIT,
		Credential: runAs.credential(),
	}
}

// isPostmaster reports whether the process is a server on this data directory,
// and not a zombie or a stranger that got its number.
func isPostmaster(pid int, data string) bool {
	line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if err != nil {
		return false
	}
	args := bytes.Split(line, []byte{0})
	at := slices.IndexFunc(args, func(arg []byte) bool { return string(arg) == "-D" })
	return at >= 0 && at+1 < len(args) && string(args[at+1]) == data
}
