package ownfile

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// lockName is the file that is locked for the directory in which it is. It stays,
// because who removed it could not know that nobody waits for it.
const lockName = ".peerd.lock"

// lockPatience bounds the wait for a lock. An edit takes a moment only, so whoever
// has the lock for longer is stuck.
const lockPatience = 10 * time.Second

// lockPause is how often the lock is tried.
const lockPause = 20 * time.Millisecond

// lock excludes all that do the same with a directory. The directory itself would
// not do: everybody who can read it could lock it, whereas the file in it is the
// user's alone.
func lock(dir string, patience time.Duration) (unlock func(), err error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(patience); ; time.Sleep(lockPause) {
		locked, err := tryLock(f)
		switch {
		case locked:
			return func() { f.Close() }, nil
		case err != nil:
			f.Close()
			return nil, &os.PathError{Op: "lock", Path: path, Err: err}
		case time.Now().After(end):
			f.Close()
			return nil, fmt.Errorf("gave up after %v: another program has a lock on %s; end the peerd that edits files there, and try again", patience, path)
		}
	}
}
