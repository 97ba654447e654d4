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

// minMajor is the oldest major version that the migrations run on.
const minMajor = 15

// downloadable are the versions that are downloaded where none is installed.
var downloadable = map[int]embedded.PostgresVersion{
	15: embedded.V15,
	16: embedded.V16,
	17: embedded.V17,
	18: embedded.V18,
}

// downloadMajor is the version that is downloaded for a new cluster.
const downloadMajor = 17

const installHint = "install one (Debian, Ubuntu: apt-get install postgresql; Fedora, RHEL: dnf install postgresql-server postgresql-contrib; " +
	"macOS: brew install postgresql@17), or point PX360_DATABASE_URL at a Postgres of your own"

// installPatterns match the directories that packages install Postgres in.
var installPatterns = []string{
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

// findBinaries returns the newest installed Postgres, or the one whose version the data has, and
// downloads it if there is none.
func findBinaries(ctx context.Context, where place, opts Options) (binaries, error) {
	want := where.clusterMajor()
	dirs := candidates(installPatterns, os.Getenv("PATH"))
	if best, ok := pick(ctx, dirs, want, where.runAs); ok {
		return best, nil
	}
	// pick finds nothing once ctx has ended; that is no reason to download.
	if ctx.Err() != nil {
		return binaries{}, fmt.Errorf("look for an installed Postgres: %w", ctx.Err())
	}
	if want == 0 {
		want = downloadMajor
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
		return binaries{}, fmt.Errorf("no Postgres %d or newer with the extension %s is installed: %w; %s", minMajor, contrib, err, installHint)
	}
	return got, nil
}

// candidates are the directories that may hold Postgres, those of packages before those of PATH.
func candidates(patterns []string, path string) []string {
	var dirs []string
	for _, pattern := range patterns {
		found, _ := filepath.Glob(pattern) // fails only on a bad pattern
		dirs = append(dirs, found...)
	}
	return append(dirs, filepath.SplitList(path)...)
}

// pick returns the newest usable installation; of major version want unless that is 0.
func pick(ctx context.Context, dirs []string, want int, runAs *account) (binaries, bool) {
	var best binaries
	for _, dir := range dirs {
		b, err := inspect(ctx, dir, runAs)
		if err != nil || b.major < minMajor || want != 0 && b.major != want || !b.hasContrib() {
			continue
		}
		if best.dir == "" || newer(b.version, best.version) {
			best = b
		}
	}
	return best, best.dir != ""
}

// contrib is the extension that the migrations use. Some systems package it separately from the
// server.
const contrib = "pg_trgm"

// hasContrib looks in the usual extension directories. It returns true if it finds none of them.
func (b binaries) hasContrib() bool {
	for _, share := range []string{
		filepath.Join(b.dir, "../share/extension"),
		filepath.Join(b.dir, "../share/postgresql/extension"),
		filepath.Join(b.dir, "../share/pgsql/extension"),
		filepath.Join(b.dir, "../share/postgresql@"+strconv.Itoa(b.major)+"/extension"),
		filepath.Join("/usr/share/postgresql", strconv.Itoa(b.major), "extension"),
		filepath.Join("/usr/share/postgresql"+strconv.Itoa(b.major), "extension"),
	} {
		// Every server has plpgsql, so its control file identifies the extension directory.
		if _, err := os.Stat(filepath.Join(share, "plpgsql.control")); err == nil {
			_, err := os.Stat(filepath.Join(share, contrib+".control"))
			return err == nil
		}
	}
	return true
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) ((\d+)[.\w]*)`)

// inspect runs postgres --version as the user that will run the server, who may lack the right to
// execute it.
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

// newer compares version numbers such as 15.18 and 17beta1.
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

type fetchRequest struct {
	cache    string // directory to keep it in
	major    int
	runAs    *account
	progress func(string)
	source   string // base URL of the repository; "" for the library's default
}

// fetch returns the downloaded Postgres from the cache, and downloads it on a miss.
func fetch(ctx context.Context, req fetchRequest) (binaries, error) {
	version, ok := downloadable[req.major]
	if !ok {
		return binaries{}, fmt.Errorf("Postgres %d cannot be downloaded", req.major)
	}
	cached := filepath.Join(req.cache, "postgresql-"+string(version))
	if b, err := inspect(ctx, filepath.Join(cached, "bin"), req.runAs); err == nil {
		return b, nil
	}
	req.progress(fmt.Sprintf("Downloading PostgreSQL %s (once) to %s", version, cached))
	removeIncomplete(req.cache, time.Hour)
	incomplete, err := os.MkdirTemp(req.cache, "new-")
	if err != nil {
		return binaries{}, fmt.Errorf("make a directory to download to: %w", err)
	}
	defer os.RemoveAll(incomplete)
	unpacked := filepath.Join(incomplete, "postgresql")
	if err := download(ctx, req.source, version, incomplete, unpacked); err != nil {
		return binaries{}, err
	}
	if err := req.runAs.chownTree(unpacked); err != nil {
		return binaries{}, err
	}
	// Another process may have downloaded the same version meanwhile; its copy is used.
	if err := os.Rename(unpacked, cached); err != nil && !errors.Is(err, fs.ErrExist) {
		return binaries{}, fmt.Errorf("keep the downloaded Postgres: %w", err)
	}
	return inspect(ctx, filepath.Join(cached, "bin"), req.runAs)
}

// download fetches, verifies and unpacks one version. The library can only do so as part of
// starting a server, which fails as root and is not wanted here. So it gets a data directory that
// os.RemoveAll rejects (its path ends in a dot): it fails right after unpacking, and that error
// counts as success. It cannot be cancelled: when ctx ends, it goes on in the background, and a
// later download removes what it leaves.
func download(ctx context.Context, source string, version embedded.PostgresVersion, scratch, unpacked string) error {
	run := filepath.Join(scratch, "run")
	config := embedded.DefaultConfig().
		Version(version).
		Port(0). // the library checks that the port is free; 0 always is
		Logger(nil).
		CachePath(filepath.Join(scratch, "archive")).
		RuntimePath(run).
		BinariesPath(unpacked).
		DataPath(run + "/.")
	if source != "" {
		config = config.BinaryRepositoryURL(source)
	}
	startedAt := time.Now().Truncate(time.Second) // some file systems store whole seconds only
	failed := make(chan error, 1)
	go func() { failed <- embedded.NewDatabase(config).Start() }()
	select {
	case <-ctx.Done():
		return fmt.Errorf("download PostgreSQL %s: %w", version, ctx.Err())
	case err := <-failed:
		removeLibraryLogs(startedAt)
		// After any other error the files may be incomplete.
		if err == nil || !strings.Contains(err.Error(), "unable to clean up data directory") {
			return fmt.Errorf("download PostgreSQL %s: %w", version, err)
		}
		return nil
	}
}

// removeLibraryLogs deletes the empty log files that the library leaves in the temporary directory.
// A concurrent download does not need them either.
func removeLibraryLogs(since time.Time) {
	logs, _ := filepath.Glob(filepath.Join(os.TempDir(), "embedded_postgres_log*"))
	for _, path := range logs {
		if info, err := os.Stat(path); err == nil && info.Size() == 0 && !info.ModTime().Before(since) {
			os.Remove(path)
		}
	}
}
