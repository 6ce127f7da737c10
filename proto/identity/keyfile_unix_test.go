//go:build unix

package identity

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestCreatedFileIsPrivate(t *testing.T) {
	path := keyPath(t)
	mustCreate(t, path)
	for p, want := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): 0o700 | fs.ModeDir} {
		if info, err := os.Stat(p); err != nil || info.Mode() != want {
			t.Errorf("%s: mode %v, %v; want %v", p, info.Mode(), err, want)
		}
	}
}

func TestLoadExposed(t *testing.T) {
	data := encodeKey(Generate())
	for _, mode := range []fs.FileMode{0o640, 0o620, 0o610, 0o604, 0o602, 0o601, 0o644, 0o777} {
		path := writeKey(t, data, mode)
		_, err := Load(path)
		if !errors.Is(err, ErrKeyExposed) {
			t.Errorf("mode %o: error is %v", mode, err)
		}
		oneLine(t, err, path)
	}
	for _, mode := range []fs.FileMode{0o600, 0o700} {
		if _, err := Load(writeKey(t, data, mode)); err != nil {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
}

func TestCreateInUnwritableDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		becomeNobody(t, dir)
	}
	checkCreateFails(t, dir)
}

func checkCreateFails(t *testing.T, dir string) {
	t.Helper()
	path := filepath.Join(dir, "identity.key")
	_, created, err := LoadOrCreate(path)
	if err == nil || created {
		t.Fatalf("created %v, %v", created, err)
	}
	oneLine(t, err, path)
}

// becomeNobody takes root's rights from this process until the test ends: root may
// write everywhere. The user gets to dir, and owns it.
func becomeNobody(t *testing.T, dir string) {
	t.Helper()
	const nobody = 65534
	if err := errors.Join(os.Chmod(filepath.Dir(dir), 0o755), os.Chown(dir, nobody, -1), syscall.Seteuid(nobody)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := syscall.Seteuid(0); err != nil {
			t.Fatal(err)
		}
	})
}
