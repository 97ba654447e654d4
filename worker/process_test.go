package worker

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"

	"github.com/px360/px360/queries"
	"github.com/px360/px360/queries/rules"
)

// processURL is the variable that makes a process of the tests a worker on the database that it names.
const processURL = "PX360_TEST_WORKER_URL"

// processName is the application_name of its sessions.
const processName = "process"

// exitCode is that of a worker's process which an event ended.
const exitCode = 42

// runProcess works with one poller until the process is ended, which an event P does.
func runProcess(url string) int {
	database, err := queries.Open(context.Background(), url, slowly(processName))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	o := DefaultOptions()
	o.Concurrency, o.Log = 1, slog.New(slog.NewTextHandler(os.Stderr, nil))
	w := New(database, o)
	w.decide = func(facts *rules.Facts, e *event) rules.Outcome {
		if e.EventCode == "P" {
			os.Exit(exitCode)
		}
		return decide(facts, e)
	}
	if err := w.Run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// startProcess starts a worker in a process of its own, which the test's end kills. ended is closed when it ended.
func (f *fixture) startProcess() (process *exec.Cmd, ended chan struct{}) {
	f.Helper()
	process, ended = exec.Command(os.Args[0]), make(chan struct{})
	process.Env = append(os.Environ(), processURL+"="+f.Pool.Config().ConnString())
	process.Stderr = f.Output()
	if err := process.Start(); err != nil {
		f.Fatal(err)
	}
	go func() { defer close(ended); _ = process.Wait() }()
	f.Cleanup(func() { _ = process.Process.Kill(); <-ended })
	return process, ended
}
