//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package ownfile

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What other users can lock is in nobody's way.
func TestEditDespiteLockedDirectory(t *testing.T) {
	dir := t.TempDir()
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := syscall.Flock(int(d.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- Create(filepath.Join(dir, "file"), nil) }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("waits for who has locked the directory")
	}
	info, err := os.Stat(filepath.Join(dir, lockName))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file that is locked: %v, %v", info, err)
	}
}

func TestLockGivesUp(t *testing.T) {
	dir := t.TempDir()
	unlock, err := lock(dir, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lock(dir, time.Millisecond); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, lockName)) {
		t.Errorf("with another lock: %v", err)
	}
	time.AfterFunc(2*lockPause, unlock)
	again, err := lock(dir, lockPatience)
	if err != nil {
		t.Fatal(err)
	}
	again()
}
