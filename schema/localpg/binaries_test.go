//go:build unix

package localpg

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// archive is a .txz of bin/initdb and bin/postgres, two scripts that print version 17.5.
const archive = `
/Td6WFoAAAFpIt42AgAhARwAAAAQz1jM4Cf/AK5dADEaShsFkZA3OlG9V3Gz1uIDp1blt7B8uc1S3lA4UQK0b/PawppfIyWxkofT
kBx37TQzPBSP5oPQF3Nks2lO1ImQ/rr++9PagglLzK+1DFVFsy0iF0UwPBaei+q+tEbF3akDGfhtYf8DwF0mBcMMvaVtMateweCF
m9vc5r0ZXiiDfp9RROOoqTYD5gW9pXcEh+FkRhvuI9r1v4ngPQrePPmU9GyshIA70K8r9dwaAAAAAFTs2sYAAcYBgFAAAE+YYbg+
MA2LAgAAAAABWVo=`

// fakeInstall creates programs that print this version.
func fakeInstall(t *testing.T, version string) string {
	t.Helper()
	dir := tempDir(t)
	for _, name := range []string{"postgres", "initdb"} {
		script := fmt.Sprintf("#!/bin/sh\necho 'postgres (PostgreSQL) %s (Somewhere 1.2)'\n", version)
		if err := os.WriteFile(filepath.Join(dir, name), []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(filepath.Join(dir, name), 0o755); err != nil { // whatever the umask
			t.Fatal(err)
		}
	}
	return dir
}

func TestPickInstalled(t *testing.T) {
	t.Parallel()
	runAs, err := unprivileged()
	if err != nil {
		t.Fatal(err)
	}
	old, pg15, pg16, pg16later := fakeInstall(t, "14.9"), fakeInstall(t, "15.4"), fakeInstall(t, "16.2"), fakeInstall(t, "16.10")
	incomplete := fakeInstall(t, "18.1")
	if err := os.Remove(filepath.Join(incomplete, "initdb")); err != nil {
		t.Fatal(err)
	}
	withoutExtensions := filepath.Join(tempDir(t), "bin") // a server without the extensions
	if err := os.Rename(fakeInstall(t, "17.2"), withoutExtensions); err != nil {
		t.Fatal(err)
	}
	share := filepath.Join(withoutExtensions, "../share/extension")
	if err := os.MkdirAll(share, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(share, "plpgsql.control"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	all := []string{old, pg15, pg16later, pg16, incomplete, withoutExtensions, "/nowhere"}
	for _, c := range []struct {
		name string
		dirs []string
		want int
		dir  string
	}{
		{"newest", all, 0, pg16later},
		{"the version of the data", all, 15, pg15},
		{"none of the data's version", all, 17, ""}, // only the one without extensions
		{"too old", []string{old}, 0, ""},
		{"nothing", nil, 0, ""},
	} {
		if got, ok := pick(t.Context(), c.dirs, c.want, runAs); got.dir != c.dir || ok != (c.dir != "") {
			t.Errorf("%s: %+v, %v; want %q", c.name, got, ok, c.dir)
		}
	}
}

func TestCandidates(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	for _, dir := range []string{"lib/postgresql/15/bin", "lib/postgresql/17/bin"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	got := candidates([]string{root + "/lib/postgresql/*/bin", root + "/other-*"}, "/usr/bin:/opt/pg/bin")
	want := []string{root + "/lib/postgresql/15/bin", root + "/lib/postgresql/17/bin", "/usr/bin", "/opt/pg/bin"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestNewer(t *testing.T) {
	t.Parallel()
	ascending := []string{"15.4", "15.18", "16.1", "17beta1", "17.0", "17.0.1", "18.3"}
	for i, older := range ascending {
		for _, later := range ascending[i+1:] {
			if older == "17beta1" || later == "17beta1" {
				continue // compared below
			}
			if newer(older, later) || !newer(later, older) {
				t.Errorf("want %s newer than %s", later, older)
			}
		}
	}
	if newer("17beta1", "17.0") || !newer("17.0", "17beta1") {
		t.Error("want 17.0 newer than 17beta1")
	}
}

func TestLocaleArgs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		major int
		goos  string
		want  string
	}{
		{15, "linux", "--locale-provider libc --locale C.UTF-8"},
		{16, "darwin", "--locale-provider libc --locale C --lc-ctype en_US.UTF-8"},
		{17, "darwin", "--locale-provider builtin --builtin-locale C.UTF-8 --locale C"},
	} {
		if got := strings.Join(localeArgs(c.major, c.goos), " "); got != c.want {
			t.Errorf("Postgres %d on %s: %s, want %s", c.major, c.goos, got, c.want)
		}
	}
}

// repository is a server of the archive above, with the paths of the Maven repository that the
// library downloads from.
func repository(t *testing.T, requests *[]string) string {
	t.Helper()
	txz, err := base64.StdEncoding.DecodeString(strings.TrimSpace(archive))
	if err != nil {
		t.Fatal(err)
	}
	var jar bytes.Buffer
	w := zip.NewWriter(&jar)
	f, err := w.Create("postgres.txz")
	if err == nil {
		_, err = f.Write(txz)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(jar.Bytes())
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*requests = append(*requests, r.URL.Path)
		switch {
		case !strings.Contains(r.URL.Path, "/17."):
			http.NotFound(w, r)
		case strings.HasSuffix(r.URL.Path, ".sha256"):
			fmt.Fprint(w, hex.EncodeToString(sum[:]))
		default:
			w.Write(jar.Bytes())
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func TestFetch(t *testing.T) {
	t.Parallel()
	runAs, err := unprivileged()
	if err != nil {
		t.Fatal(err)
	}
	var requests, progress []string
	req := fetchRequest{
		cache: tempDir(t), major: 17, runAs: runAs,
		source:   repository(t, &requests),
		progress: func(s string) { progress = append(progress, s) },
	}
	for range 2 { // the second time is a cache hit
		got, err := fetch(t.Context(), req)
		if err != nil {
			t.Fatal(err)
		}
		if want := (binaries{dir: filepath.Join(req.cache, "postgresql-17.5.0", "bin"), version: "17.5", major: 17}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
	if len(requests) != 2 || len(progress) != 1 {
		t.Errorf("requests %q and progress %q, want the archive, its checksum and one sentence", requests, progress)
	}
	if left, _ := filepath.Glob(filepath.Join(req.cache, "new-*")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}

	req.major = 16
	if _, err := fetch(t.Context(), req); err == nil || !strings.Contains(err.Error(), "16.9.0") {
		t.Errorf("version that is not there: %v", err)
	}
	req.major = 14
	if _, err := fetch(t.Context(), req); err == nil {
		t.Error("fetched a version that is too old")
	}
}
