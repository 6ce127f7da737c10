package ownfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func TestEditKeepsModeAndLeavesNothingBehind(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "b", "file")
	for i := range 2 {
		err := Edit(path, func(old []byte) ([]byte, error) {
			if (old == nil) != (i == 0) {
				t.Errorf("edit %d gets %q", i, old)
			}
			return append(old, 'x'), nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	data, info, err := Read(path)
	if err != nil || string(data) != "xx" {
		t.Errorf("%q, %v", data, err)
	}
	if os.PathSeparator == '/' && info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	failed := errors.New("failed")
	if err := Edit(path, func([]byte) ([]byte, error) { return []byte("y"), failed }); err != failed {
		t.Errorf("error is %v", err)
	}
	if data, _, _ := Read(path); string(data) != "xx" {
		t.Errorf("a failed edit wrote %q", data)
	}
	if err := Create(path, nil); !errors.Is(err, fs.ErrExist) {
		t.Errorf("creating it again: %v", err)
	}
	noTemp(t, filepath.Dir(path))
}

func noTemp(t *testing.T, dir string) {
	t.Helper()
	if left, _ := filepath.Glob(filepath.Join(dir, ".peerd-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Nobody's edit is lost.
func TestEditConcurrently(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			err := Edit(path, func(old []byte) ([]byte, error) { return fmt.Appendf(old, "%d\n", i), nil })
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	data, _, err := Read(path)
	if err != nil || bytes.Count(data, []byte("\n")) != 20 {
		t.Errorf("%q, %v", data, err)
	}
	noTemp(t, filepath.Dir(path))
}
