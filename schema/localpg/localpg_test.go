//go:build unix

package localpg

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// helperDir is the environment variable that makes the test binary start a server in that
// directory, print its URL and wait to be killed.
const helperDir = "LOCALPG_TEST_HELPER_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(helperDir); dir != "" {
		p, err := Start(context.Background(), Options{Dir: dir, Throwaway: true})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(p.URL("postgres"))
		select {}
	}
	os.Exit(m.Run())
}

// startHelper starts a helper process and returns when its server answers.
func startHelper(t *testing.T, dir string) (*exec.Cmd, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), helperDir+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the helper did not start: %v", err)
	}
	return cmd, strings.TrimSpace(url)
}

// kill sends SIGKILL to the helper and waits for its end.
func kill(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	cmd.Wait()
}

// tempDir is a temporary directory that, unlike t.TempDir, other users can enter: for root, the
// server runs as another user.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "px360-localpg-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// serverDir is a directory for a server. It is removed after all other cleanups.
func serverDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(tempDir(t), "postgres")
	t.Cleanup(func() {
		eventually(t, "remove the server", func() bool { return Remove(dir) == nil })
	})
	return dir
}

func start(t *testing.T, opts Options) *Postgres {
	t.Helper()
	p, err := Start(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	})
	return p
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); !condition(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("did not happen in 30 s: %s", what)
		}
	}
}

// query returns the single value of the statement's result, as text.
func query(url, sql string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return "", err
	}
	defer conn.Close(ctx)
	var value string
	err = conn.QueryRow(ctx, sql).Scan(&value)
	return value, err
}

func wantQuery(t *testing.T, url, sql, want string) {
	t.Helper()
	if got, err := query(url, sql); err != nil || got != want {
		t.Errorf("%s = %q, %v; want %q", sql, got, err, want)
	}
}

// writeMark stores a row that readMark reads.
func writeMark(t *testing.T, url string) {
	t.Helper()
	ctx := t.Context()
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, `CREATE TABLE mark (text text); INSERT INTO mark VALUES ('kept')`); err != nil {
		t.Fatal(err)
	}
}

const readMark = `SELECT text FROM mark`

func TestDataSurvivesRestart(t *testing.T) {
	t.Parallel()
	dir := serverDir(t)
	var progress []string
	opts := Options{Dir: dir, Settings: map[string]string{"work_mem": "5MB"}, Progress: func(s string) { progress = append(progress, s) }}

	first := start(t, opts)
	url, err := first.EnsureDatabase(t.Context(), "px360")
	if err != nil {
		t.Fatal(err)
	}
	writeMark(t, url)
	for sql, want := range map[string]string{
		`SELECT current_setting('listen_addresses')`: "",
		`SELECT current_setting('max_connections')`:  "200",
		`SELECT current_setting('fsync')`:            "on",
		`SELECT current_setting('work_mem')`:         "5MB",
		`SELECT current_setting('server_encoding')`:  "UTF8",
		`SELECT current_setting('timezone')`:         "UTC",
		`SELECT current_setting('data_directory')`:   filepath.Join(first.Dir(), "data"),
		`SELECT lower('ÀÉ')`:                         "àé",
		`SELECT ('B' < 'a')::text`:                   "true", // byte order
	} {
		wantQuery(t, url, sql, want)
	}
	info, err := os.Stat(first.place.socket)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("socket directory: %v, %v; want mode 0700", info.Mode(), err)
	}
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := first.Stop(); err != nil {
		t.Errorf("second Stop: %v", err)
	}
	if _, err := os.Stat(first.place.socket); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket directory is still there: %v", err)
	}

	second := start(t, opts)
	if second.URL("px360") != url {
		t.Errorf("URL changed from %s to %s", url, second.URL("px360"))
	}
	if _, err := second.EnsureDatabase(t.Context(), "px360"); err != nil {
		t.Errorf("database that exists: %v", err)
	}
	wantQuery(t, url, readMark, "kept")
	if len(progress) != 1 {
		t.Errorf("progress %q, want one sentence, at the first start", progress)
	}
}

func TestSecondStartJoins(t *testing.T) {
	t.Parallel()
	dir := serverDir(t)
	owner := start(t, Options{Dir: dir, Throwaway: true})
	writeMark(t, owner.URL("postgres"))
	pid := readPidFile(owner.place.pidFile()).pid

	joined := start(t, Options{Dir: dir, Throwaway: true})
	if joined.URL("postgres") != owner.URL("postgres") {
		t.Errorf("joined at %s, want %s", joined.URL("postgres"), owner.URL("postgres"))
	}
	wantQuery(t, joined.URL("postgres"), readMark, "kept")
	if err := Remove(dir); !errors.Is(err, ErrInUse) {
		t.Errorf("Remove of a running server: %v, want ErrInUse", err)
	}
	if err := joined.Stop(); err != nil {
		t.Fatal(err)
	}
	if !isPostmaster(pid, owner.place.data()) {
		t.Fatal("the server stopped with one that had joined")
	}
	wantQuery(t, owner.URL("postgres"), readMark, "kept")
}

func TestJoinedTakesOverWhenTheOwnerStops(t *testing.T) {
	t.Parallel()
	dir := serverDir(t)
	owner := start(t, Options{Dir: dir, Throwaway: true})
	writeMark(t, owner.URL("postgres"))
	joined := start(t, Options{Dir: dir, Throwaway: true})
	if err := owner.Stop(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the data is back", func() bool {
		got, err := query(joined.URL("postgres"), readMark)
		return err == nil && got == "kept"
	})
}

func TestServerEndsWithItsKilledOwner(t *testing.T) {
	t.Parallel()
	dir := serverDir(t)
	helper, url := startHelper(t, dir)
	writeMark(t, url)
	where, err := locate(dir)
	if err != nil {
		t.Fatal(err)
	}
	pid := readPidFile(where.pidFile()).pid
	if !isPostmaster(pid, where.data()) {
		t.Fatalf("process %d is not the postmaster", pid)
	}

	kill(t, helper)
	if runtime.GOOS == "linux" {
		eventually(t, "the server ends with its owner", func() bool { return !isPostmaster(pid, where.data()) })
	}
	p := start(t, Options{Dir: dir, Throwaway: true})
	if isPostmaster(pid, where.data()) {
		t.Error("the old server still runs")
	}
	wantQuery(t, p.URL("postgres"), readMark, "kept")
}

func TestStartRightAfterOwnerWasKilled(t *testing.T) {
	t.Parallel()
	dir := serverDir(t)
	helper, url := startHelper(t, dir)
	writeMark(t, url)
	joined := start(t, Options{Dir: dir, Throwaway: true})
	kill(t, helper)
	next := start(t, Options{Dir: dir, Throwaway: true}) // races with the end of the old server and with takeOver
	for _, p := range []*Postgres{joined, next} {
		eventually(t, "the data is back", func() bool {
			got, err := query(p.URL("postgres"), readMark)
			return err == nil && got == "kept"
		})
	}
}

func TestStartAfterServerCrash(t *testing.T) {
	t.Parallel()
	dir := serverDir(t)
	first := start(t, Options{Dir: dir, Throwaway: true})
	writeMark(t, first.URL("postgres"))
	if err := syscall.Kill(first.server.cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-first.server.done
	if err := first.Stop(); err != nil {
		t.Errorf("Stop after a crash: %v", err)
	}
	second := start(t, Options{Dir: dir, Throwaway: true})
	wantQuery(t, second.URL("postgres"), readMark, "kept")
}

func TestStalePidFileOfALivingProcess(t *testing.T) {
	t.Parallel()
	dir := serverDir(t)
	first := start(t, Options{Dir: dir, Throwaway: true})
	writeMark(t, first.URL("postgres"))
	text, err := os.ReadFile(first.place.pidFile())
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}

	// The server's process id now belongs to another process: this test.
	_, rest, _ := strings.Cut(string(text), "\n")
	stale := fmt.Sprintf("%d\n%s", os.Getpid(), rest)
	if err := os.Mkdir(first.place.socket, 0o700); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(first.place.socket, ".s.PGSQL."+port)
	for _, path := range []string{first.place.pidFile(), socket, socket + ".lock"} {
		if err := os.WriteFile(path, []byte(stale), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := first.place.runAs.chown(path); err != nil {
			t.Fatal(err)
		}
	}
	second := start(t, Options{Dir: dir, Throwaway: true})
	wantQuery(t, second.URL("postgres"), readMark, "kept")
}

func TestIncompleteClusterIsReplaced(t *testing.T) {
	t.Parallel()
	dir := serverDir(t)
	incomplete := filepath.Join(dir, "new-123")
	if err := os.MkdirAll(incomplete, 0o755); err != nil {
		t.Fatal(err)
	}
	p := start(t, Options{Dir: dir, Throwaway: true})
	wantQuery(t, p.URL("postgres"), `SELECT 'up'`, "up")
	if _, err := os.Stat(incomplete); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what a killed start left is still there: %v", err)
	}
}

func TestStartErrors(t *testing.T) {
	t.Parallel()
	if _, err := Start(t.Context(), Options{}); err == nil {
		t.Error("started without a directory")
	}

	bad := serverDir(t)
	_, err := Start(t.Context(), Options{Dir: bad, Throwaway: true, Settings: map[string]string{"max_connections": "many"}})
	if err == nil || !strings.Contains(err.Error(), `invalid value for parameter "max_connections"`) {
		t.Errorf("bad setting: %v; want what the server's log says", err)
	}
	p := start(t, Options{Dir: bad, Throwaway: true}) // the failed start left nothing that prevents this one
	wantQuery(t, p.URL("postgres"), `SELECT 'up'`, "up")

	foreign := serverDir(t)
	if err := os.MkdirAll(filepath.Join(foreign, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err = Start(t.Context(), Options{Dir: foreign, Throwaway: true}); err == nil || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("data that is not ours: %v; want advice to move it away", err)
	}

	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = Start(cancelled, Options{Dir: serverDir(t), Throwaway: true}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled start: %v", err)
	}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(tempDir(t), "postgres")
	if err := Remove(dir); err != nil {
		t.Errorf("Remove of nothing: %v", err)
	}
	p := start(t, Options{Dir: dir, Throwaway: true})
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := Remove(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory is still there: %v", err)
	}
}

func TestDirUnreachableForRootsServer(t *testing.T) {
	t.Parallel()
	closed := filepath.Join(t.TempDir(), "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(closed, "postgres")
	where, err := locate(dir)
	if err != nil {
		t.Fatal(err)
	}
	if inRootDir := strings.HasPrefix(where.dir, "/var/lib/px360/"); inRootDir != (os.Geteuid() == 0) {
		t.Errorf("user %d gets %s for %s", os.Geteuid(), where.dir, dir)
	}
}
