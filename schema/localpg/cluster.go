//go:build unix

package localpg

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// pidFile is what postmaster.pid says; zero where it is missing.
type pidFile struct {
	pid    int
	socket string
}

func readPidFile(path string) pidFile {
	text, err := os.ReadFile(path)
	if err != nil {
		return pidFile{}
	}
	// The lines are: process, data directory, start time, port, socket directory.
	lines := strings.Split(string(text), "\n")
	var file pidFile
	file.pid, _ = strconv.Atoi(strings.TrimSpace(lines[0]))
	if len(lines) > 4 {
		file.socket = strings.TrimSpace(lines[4])
	}
	return file
}

// clusterMajor is the major version of the data directory, 0 if there is none.
func (p place) clusterMajor() int {
	text, err := os.ReadFile(filepath.Join(p.data(), "PG_VERSION"))
	if err != nil {
		return 0
	}
	major, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return major
}

// ensureCluster creates the data directory unless there is one. It is created under a temporary
// name and renamed, so that it is complete or missing after a kill.
func (p place) ensureCluster(ctx context.Context, bin binaries, opts Options) error {
	if p.clusterMajor() > 0 {
		return nil
	}
	if _, err := os.Stat(p.data()); err == nil {
		return fmt.Errorf("%s exists but holds no Postgres data; move it away and try again", p.data())
	}
	removeIncomplete(p.dir, 0) // the lock is held
	incomplete, err := os.MkdirTemp(p.dir, "new-")
	if err != nil {
		return fmt.Errorf("make a data directory: %w", err)
	}
	defer os.RemoveAll(incomplete) // renamed already on success
	if err := p.runAs.chown(incomplete); err != nil {
		return err
	}
	if opts.Throwaway {
		err = copyCluster(ctx, p.runAs, bin, incomplete)
	} else {
		opts.Progress("Preparing a private Postgres in " + p.dir)
		err = initCluster(ctx, p.runAs, bin, incomplete)
	}
	if err != nil {
		return err
	}
	if err := os.Rename(incomplete, p.data()); err != nil {
		return fmt.Errorf("put the data directory in place: %w", err)
	}
	return nil
}

// removeIncomplete deletes directories that a killed process left in dir, if they are at least so
// old that no process can still be filling them. Errors are ignored: the next run tries again.
func removeIncomplete(dir string, age time.Duration) {
	left, _ := filepath.Glob(filepath.Join(dir, "new-*"))
	for _, path := range left {
		if info, err := os.Stat(path); err == nil && time.Since(info.ModTime()) >= age {
			os.RemoveAll(path)
		}
	}
}

// initCluster runs initdb on an empty directory.
func initCluster(ctx context.Context, runAs *account, bin binaries, dir string) error {
	args := append([]string{
		"--pgdata", dir,
		"--username", superuser,
		// Only the owner can enter the socket's directory, which is the only way in.
		"--auth-local", "trust",
		"--auth-host", "reject",
		"--encoding", "UTF8",
		"--no-instructions",
	}, localeArgs(bin.major, runtime.GOOS)...)
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, bin.path("initdb"), args...)
	cmd.Dir = dir
	cmd.Env = childEnv()
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = childAttr(runAs)
	ended := make(chan error, 1)
	err := startBound(cmd, func(err error) { ended <- err })
	if err == nil {
		err = <-ended
	}
	if err != nil {
		return fmt.Errorf("prepare the private Postgres with %s: %w\n%s", cmd.Path, err, out.Bytes())
	}
	return nil
}

// localeArgs select byte order for sorting and Unicode rules for case, the same on every machine
// and without ICU, which not every build has.
func localeArgs(major int, goos string) []string {
	switch {
	case major >= 17:
		return []string{"--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--locale", "C"}
	case goos == "darwin": // has no C.UTF-8
		return []string{"--locale-provider", "libc", "--locale", "C", "--lc-ctype", "en_US.UTF-8"}
	default:
		return []string{"--locale-provider", "libc", "--locale", "C.UTF-8"}
	}
}

// copyCluster copies a new cluster from the one in the user's cache directory, and creates that on
// a miss.
func copyCluster(ctx context.Context, runAs *account, bin binaries, dir string) error {
	cache, err := cacheDir()
	if err != nil {
		return initCluster(ctx, runAs, bin, dir)
	}
	cached := filepath.Join(cache, "cluster-"+bin.version)
	if _, err := os.Stat(cached); errors.Is(err, fs.ErrNotExist) {
		if err := createCachedCluster(ctx, runAs, bin, cached); err != nil {
			return err
		}
	}
	if err := os.CopyFS(dir, os.DirFS(cached)); err != nil {
		return fmt.Errorf("copy the fresh Postgres cluster %s (delete it if it is damaged): %w", cached, err)
	}
	return runAs.chownTree(dir)
}

// createCachedCluster creates the cluster that others are copied from. Two processes may do so at
// once: the first to finish wins.
func createCachedCluster(ctx context.Context, runAs *account, bin binaries, cached string) error {
	removeIncomplete(filepath.Dir(cached), time.Hour)
	incomplete, err := os.MkdirTemp(filepath.Dir(cached), "new-")
	if err != nil {
		return fmt.Errorf("make a directory for a fresh Postgres cluster: %w", err)
	}
	defer os.RemoveAll(incomplete)
	if err := runAs.chown(incomplete); err != nil {
		return err
	}
	if err := initCluster(ctx, runAs, bin, incomplete); err != nil {
		return err
	}
	if err := os.Rename(incomplete, cached); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("keep a fresh Postgres cluster: %w", err)
	}
	return nil
}

// cacheDir is where downloads and the cached cluster are stored.
func cacheDir() (string, error) {
	base := "/var/cache" // for root, since the server's user cannot enter root's home
	if os.Geteuid() != 0 {
		var err error
		if base, err = os.UserCacheDir(); err != nil {
			return "", fmt.Errorf("find a cache directory (is HOME set?): %w", err)
		}
	}
	dir := filepath.Join(base, "px360")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make a cache directory: %w", err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // whatever the umask
		return "", fmt.Errorf("make a cache directory: %w", err)
	}
	return dir, nil
}
