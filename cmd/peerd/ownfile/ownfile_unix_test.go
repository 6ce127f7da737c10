//go:build unix

package ownfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestReadRefusesWhatOthersCanWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, trusted := range map[os.FileMode]bool{0o600: true, 0o644: true, 0o400: true, 0o620: false, 0o602: false, 0o666: false} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Read(path); errors.Is(err, ErrUntrusted) == trusted {
			t.Errorf("mode %04o: %v", mode, err)
		}
		if err := Edit(path, func(b []byte) ([]byte, error) { return b, nil }); errors.Is(err, ErrUntrusted) == trusted {
			t.Errorf("editing with mode %04o: %v", mode, err)
		}
	}
	if _, _, err := Read(filepath.Dir(path)); err == nil {
		t.Error("a directory is read")
	}
	if os.Geteuid() == 0 {
		os.Chmod(path, 0o600)
		if err := os.Chown(path, 4711, -1); err != nil {
			t.Fatal(err)
		}
		if _, _, err := Read(path); !errors.Is(err, ErrUntrusted) {
			t.Errorf("another user's file: %v", err)
		}
	}
}

// A file that is a link, as dotfile managers have it, stays one.
func TestEditFollowsLinks(t *testing.T) {
	dir := t.TempDir()
	real, link := filepath.Join(dir, "real"), filepath.Join(dir, "link")
	if err := errors.Join(os.WriteFile(real, []byte("x"), 0o600), os.Symlink(real, link)); err != nil {
		t.Fatal(err)
	}
	if err := Edit(link, func(b []byte) ([]byte, error) { return append(b, 'y'), nil }); err != nil {
		t.Fatal(err)
	}
	if b, _ := os.ReadFile(real); string(b) != "xy" {
		t.Errorf("behind the link: %q", b)
	}
	if info, _ := os.Lstat(link); info.Mode()&os.ModeSymlink == 0 {
		t.Error("the link is gone")
	}
}

// Who can write a directory can replace the files in it.
func TestReadRefusesWhatOthersCanReplace(t *testing.T) {
	shared, links := t.TempDir(), t.TempDir()
	path, link := filepath.Join(shared, "file"), filepath.Join(links, "link")
	if err := errors.Join(os.WriteFile(path, []byte("x"), 0o600), os.Symlink(path, link)); err != nil {
		t.Fatal(err)
	}
	check := func(what string, trusted bool, path string) {
		t.Helper()
		if _, _, err := Read(path); errors.Is(err, ErrUntrusted) == trusted {
			t.Errorf("%s: reading: %v", what, err)
		}
		if err := Edit(path, func(b []byte) ([]byte, error) { return b, nil }); errors.Is(err, ErrUntrusted) == trusted {
			t.Errorf("%s: editing: %v", what, err)
		}
		if err := Create(path, nil); errors.Is(err, ErrUntrusted) == trusted {
			t.Errorf("%s: creating: %v", what, err)
		}
	}
	for mode, trusted := range map[os.FileMode]bool{0o755: true, 0o700: true, 0o775: false, 0o777: false, 0o777 | os.ModeSticky: true} {
		for _, dir := range []string{shared, links} {
			if err := errors.Join(os.Chmod(shared, 0o755), os.Chmod(links, 0o755), os.Chmod(dir, mode)); err != nil {
				t.Fatal(err)
			}
			check(fmt.Sprintf("link, %v of %s", mode, filepath.Base(dir)), trusted, link)
		}
		if err := os.Chmod(shared, mode); err != nil {
			t.Fatal(err)
		}
		check(fmt.Sprintf("file, %v", mode), trusted, path)
	}
	if os.Geteuid() != 0 {
		return
	}
	if err := errors.Join(os.Chmod(shared, 0o755), os.Chmod(links, 0o777|os.ModeSticky), os.Lchown(link, 4711, -1)); err != nil {
		t.Fatal(err)
	}
	check("another user's link", false, link)
	if err := os.Chown(shared, 4711, -1); err != nil {
		t.Fatal(err)
	}
	check("another user's directory", false, path)
}

// Nothing is left in a directory that is not trusted.
func TestEditTouchesNoUntrustedDirectory(t *testing.T) {
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := Create(filepath.Join(dir, "file"), nil); !errors.Is(err, ErrUntrusted) {
		t.Errorf("creating a file: %v", err)
	}
	if list, err := os.ReadDir(dir); len(list) > 0 || err != nil {
		t.Errorf("left behind: %v, %v", list, err)
	}
}
