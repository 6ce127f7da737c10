//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package identity

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

func addLocked(m map[string]func(temp, path string) error) {
	m["installLocked"] = func(temp, path string) error { return installLocked(temp, path, syscall.EPERM) }
}

func TestInstallLockedConcurrently(t *testing.T) {
	path := filepath.Join(t.TempDir(), "identity.key")
	var wg sync.WaitGroup
	var installed atomic.Int32
	for range 20 {
		temp, err := writeTemp(filepath.Dir(path), encodeKey(Generate()))
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			switch err := installLocked(temp, path, syscall.EPERM); {
			case err == nil:
				installed.Add(1)
			case !errors.Is(err, fs.ErrExist):
				t.Error(err)
			}
			os.Remove(temp)
		})
	}
	wg.Wait()
	if installed.Load() != 1 {
		t.Errorf("%d installed", installed.Load())
	}
	noTemp(t, filepath.Dir(path))
}

func TestInstallLockedWithoutDirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "gone", "identity.key")
	if err := installLocked(path+".temp", path, syscall.EPERM); err != syscall.EPERM {
		t.Errorf("error is %v, want that of link", err)
	}
}
