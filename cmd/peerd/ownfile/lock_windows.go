package ownfile

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/windows"
)

// lock excludes all that do the same with a directory. Directories cannot be
// locked on Windows, so a file in it is, which stays.
func lock(dir string) (unlock func(), err error) {
	path := filepath.Join(dir, ".peerd.lock")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK, 0, 1, 0, new(windows.Overlapped))
	if err != nil {
		f.Close()
		return nil, &os.PathError{Op: "lock", Path: path, Err: err}
	}
	return func() { f.Close() }, nil
}
