//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package identity

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// installLocked is install where there are no hard links: a lock on the
// directory excludes all that do the same, and they do the same because link
// failed for them, too. The error is cause if the directory cannot be locked.
func installLocked(temp, path string, cause error) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return cause
	}
	defer dir.Close() // unlocks
	for err = syscall.EINTR; err == syscall.EINTR; {
		err = syscall.Flock(int(dir.Fd()), syscall.LOCK_EX)
	}
	if err != nil {
		return cause
	}
	if _, err := os.Lstat(path); err == nil {
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	return os.Rename(temp, path)
}
