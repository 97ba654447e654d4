//go:build unix

package localpg

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"

	embedded "github.com/fergusstrange/embedded-postgres"
)

// oldest is the oldest major version that the migrations run on.
const oldest = 15

// downloadable are the versions we fetch where none is installed.
var downloadable = map[int]embedded.PostgresVersion{
	15: embedded.V15,
	16: embedded.V16,
	17: embedded.V17,
	18: embedded.V18,
}

// preferred is what a new cluster gets by download.
const preferred = 17

const installHint = "install one (Debian, Ubuntu: apt-get install postgresql; Fedora, RHEL: dnf install postgresql-server postgresql-contrib; " +
	"macOS: brew install postgresql@17), or point PX360_DATABASE_URL at a Postgres of your own"

// installed are the directories that packages put Postgres in, as patterns.
var installed = []string{
	"/usr/lib/postgresql/*/bin",                          // Debian, Ubuntu
	"/usr/pgsql-*/bin",                                   // RHEL, Fedora (PGDG)
	"/usr/libexec/postgresql*",                           // Alpine
	"/opt/homebrew/opt/postgresql@*/bin",                 // Homebrew on Apple silicon
	"/usr/local/opt/postgresql@*/bin",                    // Homebrew on Intel
	"/home/linuxbrew/.linuxbrew/opt/postgresql@*/bin",    // Homebrew on Linux
	"/Applications/Postgres.app/Contents/Versions/*/bin", // Postgres.app
}

// binaries is one installation of Postgres.
type binaries struct {
	dir     string
	version string // such as 15.18
	major   int
}

func (b binaries) path(program string) string { return filepath.Join(b.dir, program) }

// findBinaries picks the newest installed Postgres, or the one that the data
// belongs to, and downloads it if there is none.
func findBinaries(ctx context.Context, where place, opts Options) (binaries, error) {
	want := where.clusterMajor()
	dirs := candidates(installed, os.Getenv("PATH"))
	if best, ok := pick(ctx, dirs, want, where.runAs); ok {
		return best, nil
	}
	// Asking for versions fails once ctx ends; that is no reason to download.
	if ctx.Err() != nil {
		return binaries{}, fmt.Errorf("look for an installed Postgres: %w", ctx.Err())
	}
	if want == 0 {
		want = preferred
	}
	cache, err := cacheDir()
	if err != nil {
		return binaries{}, err
	}
	got, err := fetch(ctx, fetchRequest{cache: cache, major: want, runAs: where.runAs, progress: opts.Progress})
	if err != nil {
		if where.clusterMajor() > 0 {
			return binaries{}, fmt.Errorf("the data in %s needs Postgres %d with its extensions, which is not installed: %w; %s, or move the directory away to begin anew",
				where.dir, want, err, installHint)
		}
		return binaries{}, fmt.Errorf("no Postgres %d or newer with the extension %s is installed: %w; %s", oldest, contrib, err, installHint)
	}
	return got, nil
}

// candidates are the directories that may hold Postgres, most trusted first.
func candidates(patterns []string, path string) []string {
	var dirs []string
	for _, pattern := range patterns {
		found, _ := filepath.Glob(pattern) // fails only on a bad pattern
		dirs = append(dirs, found...)
	}
	return append(dirs, filepath.SplitList(path)...)
}

// pick returns the newest usable installation; of version want unless that is 0.
func pick(ctx context.Context, dirs []string, want int, runAs *account) (binaries, bool) {
	var best binaries
	for _, dir := range dirs {
		b, err := inspect(ctx, dir, runAs)
		if err != nil || b.major < oldest || want != 0 && b.major != want || !b.hasContrib() {
			continue
		}
		if best.dir == "" || newer(b.version, best.version) {
			best = b
		}
	}
	return best, best.dir != ""
}

// contrib is the extension that the migrations use. Some systems package it apart
// from the server.
const contrib = "pg_trgm"

// hasContrib looks where the usual layouts keep extensions. In a layout that it
// does not know it gives the installation the benefit of the doubt.
func (b binaries) hasContrib() bool {
	for _, share := range []string{
		filepath.Join(b.dir, "../share/extension"),
		filepath.Join(b.dir, "../share/postgresql/extension"),
		filepath.Join(b.dir, "../share/pgsql/extension"),
		filepath.Join(b.dir, "../share/postgresql@"+strconv.Itoa(b.major)+"/extension"),
		filepath.Join("/usr/share/postgresql", strconv.Itoa(b.major), "extension"),
		filepath.Join("/usr/share/postgresql"+strconv.Itoa(b.major), "extension"),
	} {
		// plpgsql comes with every server, so it tells the right directory.
		if _, err := os.Stat(filepath.Join(share, "plpgsql.control")); err == nil {
			_, err := os.Stat(filepath.Join(share, contrib+".control"))
			return err == nil
		}
	}
	return true
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) ((\d+)[.\w]*)`)

// inspect asks the binaries in dir for their version, as the user that will run
// them: what that user may not execute is no use.
func inspect(ctx context.Context, dir string, runAs *account) (binaries, error) {
	b := binaries{dir: dir}
	for _, program := range []string{"initdb", "postgres"} {
		if _, err := os.Stat(b.path(program)); err != nil {
			return binaries{}, err
		}
	}
	cmd := exec.CommandContext(ctx, b.path("postgres"), "--version")
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: runAs.credential()}
	out, err := cmd.Output()
	if err != nil {
		return binaries{}, fmt.Errorf("ask %s for its version: %w", cmd.Path, err)
	}
	match := versionPattern.FindStringSubmatch(string(out))
	if match == nil {
		return binaries{}, fmt.Errorf("%s says %q instead of its version", cmd.Path, out)
	}
	b.version = match[1]
	b.major, err = strconv.Atoi(match[2])
	return b, err
}

// newer compares versions such as 15.18 and 17beta1 by their numbers.
func newer(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(as), len(bs)) {
		x, errX := strconv.Atoi(as[i])
		y, errY := strconv.Atoi(bs[i])
		if errX != nil || errY != nil {
			return errX == nil // a release is better than a beta
		}
		if x != y {
			return x > y
		}
	}
	return len(as) > len(bs)
}

// fetchRequest says what to download and where to.
type fetchRequest struct {
	cache    string // directory to keep it in
	major    int
	runAs    *account
	progress func(string)
	source   string // base URL of the repository; "" for the library's default
}

// fetch returns the downloaded Postgres from the cache, downloading it first if
// need be.
func fetch(ctx context.Context, req fetchRequest) (binaries, error) {
	version, ok := downloadable[req.major]
	if !ok {
		return binaries{}, fmt.Errorf("Postgres %d cannot be downloaded", req.major)
	}
	kept := filepath.Join(req.cache, "postgresql-"+string(version))
	if b, err := inspect(ctx, filepath.Join(kept, "bin"), req.runAs); err == nil {
		return b, nil
	}
	req.progress(fmt.Sprintf("Downloading PostgreSQL %s (once) to %s", version, kept))
	removeHalfMade(req.cache, time.Hour)
	half, err := os.MkdirTemp(req.cache, "new-")
	if err != nil {
		return binaries{}, fmt.Errorf("make a directory to download to: %w", err)
	}
	defer os.RemoveAll(half)
	unpacked := filepath.Join(half, "postgresql")
	if err := download(ctx, req.source, version, half, unpacked); err != nil {
		return binaries{}, err
	}
	if err := req.runAs.chownTree(unpacked); err != nil {
		return binaries{}, err
	}
	// Another process may have been faster; its copy is as good.
	if err := os.Rename(unpacked, kept); err != nil && !errors.Is(err, fs.ErrExist) {
		return binaries{}, fmt.Errorf("keep the downloaded Postgres: %w", err)
	}
	return inspect(ctx, filepath.Join(kept, "bin"), req.runAs)
}

// download fetches, verifies and unpacks one version. The library has no call for
// just that, only one that goes on to initialise and run a server, which it cannot
// do as root and which we do ourselves. So it gets a data directory that it can
// neither use nor clear, a path that ends in a dot, at which os.RemoveAll stops:
// it fails right after unpacking, and that error is the sign of success. Nor can
// it be interrupted: when ctx ends, it goes on in the background until the program
// ends, and what it leaves is removed by a later download.
func download(ctx context.Context, source string, version embedded.PostgresVersion, scratch, unpacked string) error {
	run := filepath.Join(scratch, "run")
	config := embedded.DefaultConfig().
		Version(version).
		Port(0). // it checks that the port is free; 0 always is
		Logger(nil).
		CachePath(filepath.Join(scratch, "archive")).
		RuntimePath(run).
		BinariesPath(unpacked).
		DataPath(run + "/.")
	if source != "" {
		config = config.BinaryRepositoryURL(source)
	}
	begun := time.Now().Truncate(time.Second) // some file systems keep no fractions
	failed := make(chan error, 1)
	go func() { failed <- embedded.NewDatabase(config).Start() }()
	select {
	case <-ctx.Done():
		return fmt.Errorf("download PostgreSQL %s: %w", version, ctx.Err())
	case err := <-failed:
		removeLibraryLogs(begun)
		// Any other error may have left half of the files.
		if err == nil || !strings.Contains(err.Error(), "unable to clean up data directory") {
			return fmt.Errorf("download PostgreSQL %s: %w", version, err)
		}
		return nil
	}
}

// removeLibraryLogs deletes the empty files that the library leaves among the
// temporary ones. They are of no use to another download either.
func removeLibraryLogs(since time.Time) {
	logs, _ := filepath.Glob(filepath.Join(os.TempDir(), "embedded_postgres_log*"))
	for _, path := range logs {
		if info, err := os.Stat(path); err == nil && info.Size() == 0 && !info.ModTime().Before(since) {
			os.Remove(path)
		}
	}
}
