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

// pidFile is what a server wrote down about itself; zero where it is missing.
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

// clusterMajor is the major version that the data belongs to, 0 without data.
func (p place) clusterMajor() int {
	text, err := os.ReadFile(filepath.Join(p.data(), "PG_VERSION"))
	if err != nil {
		return 0
	}
	major, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return major
}

// ensureCluster makes the data directory unless there is one. It is made under a
// temporary name, so that a kill halfway leaves nothing that looks complete.
func (p place) ensureCluster(ctx context.Context, bin binaries, opts Options) error {
	if p.clusterMajor() > 0 {
		return nil
	}
	if _, err := os.Stat(p.data()); err == nil {
		return fmt.Errorf("%s exists but holds no Postgres data; move it away and try again", p.data())
	}
	removeHalfMade(p.dir, 0) // we hold the lock
	half, err := os.MkdirTemp(p.dir, "new-")
	if err != nil {
		return fmt.Errorf("make a data directory: %w", err)
	}
	defer os.RemoveAll(half) // gone already if all goes well
	if err := p.runAs.chown(half); err != nil {
		return err
	}
	if opts.Throwaway {
		err = copyCluster(ctx, p.runAs, bin, half)
	} else {
		opts.Progress("Preparing a private Postgres in " + p.dir)
		err = initCluster(ctx, p.runAs, bin, half)
	}
	if err != nil {
		return err
	}
	if err := os.Rename(half, p.data()); err != nil {
		return fmt.Errorf("put the data directory in place: %w", err)
	}
	return nil
}

// removeHalfMade deletes what a killed run left in dir, if nobody can be at work
// on it any more. Failing to is no harm.
func removeHalfMade(dir string, age time.Duration) {
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
		// The socket's directory is the only door, and only its owner can open it.
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

// localeArgs ask for byte order and for upper and lower case beyond ASCII, the
// same on every machine and free of ICU, which not every build has.
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

// copyCluster fills dir from a fresh cluster kept in the user's cache directory,
// making that one first if need be.
func copyCluster(ctx context.Context, runAs *account, bin binaries, dir string) error {
	cache, err := cacheDir()
	if err != nil {
		return initCluster(ctx, runAs, bin, dir)
	}
	kept := filepath.Join(cache, "cluster-"+bin.version)
	if _, err := os.Stat(kept); errors.Is(err, fs.ErrNotExist) {
		if err := keepCluster(ctx, runAs, bin, kept); err != nil {
			return err
		}
	}
	if err := os.CopyFS(dir, os.DirFS(kept)); err != nil {
		return fmt.Errorf("copy the fresh Postgres cluster %s (delete it if it is damaged): %w", kept, err)
	}
	return runAs.chownTree(dir)
}

// keepCluster makes the cluster that others are copied from. Two processes may
// do so at once: the first to finish wins.
func keepCluster(ctx context.Context, runAs *account, bin binaries, kept string) error {
	removeHalfMade(filepath.Dir(kept), time.Hour)
	half, err := os.MkdirTemp(filepath.Dir(kept), "new-")
	if err != nil {
		return fmt.Errorf("make a directory for a fresh Postgres cluster: %w", err)
	}
	defer os.RemoveAll(half)
	if err := runAs.chown(half); err != nil {
		return err
	}
	if err := initCluster(ctx, runAs, bin, half); err != nil {
		return err
	}
	if err := os.Rename(half, kept); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("keep a fresh Postgres cluster: %w", err)
	}
	return nil
}

// cacheDir is where downloads and fresh clusters are kept for later runs.
func cacheDir() (string, error) {
	base := "/var/cache" // the server's user cannot see into root's home
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
