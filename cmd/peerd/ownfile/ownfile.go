package ownfile

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrUntrusted means that somebody else than the user and root may have written
// a file, or put it in its place. The errors that wrap it name what is wrong and
// say what to do.
var ErrUntrusted = errors.New("open to changes by other users")

// maxSize bounds what is read.
const maxSize = 1 << 20

// Read reads a file for which Check returns nil. The error wraps ErrUntrusted or
// what the system says.
func Read(path string) ([]byte, fs.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	// Of the open file, not of the path: that may have changed meanwhile.
	info, err := f.Stat()
	if err != nil {
		return nil, nil, err
	}
	if err := Check(path, info); err != nil {
		return nil, info, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err == nil && len(data) > maxSize {
		err = fmt.Errorf("%s has more than %d bytes", path, maxSize)
	}
	return data, info, err
}

// Check returns an error that wraps ErrUntrusted if somebody else can write the
// file, or replace it because they can write its directory; if the path is a link,
// this holds for the directories of both. It is as with sshd's StrictModes, except
// that a sticky directory such as /tmp will do, since nobody can replace another
// user's files there, and that the directories above are not looked at: who can
// write those can move the user's directories about, but cannot make any. Where
// files have no modes the error is always nil: who may write one, there, its access
// control list says.
func Check(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file; correct the path", path)
	}
	if err := checkFile(path, info); err != nil {
		return err
	}
	return checkPlace(path)
}

// Same reports whether a file seems to be as it was: the same one, with the same
// content, owner and mode.
func Same(was, is fs.FileInfo) bool {
	return os.SameFile(was, is) && was.Size() == is.Size() && was.ModTime().Equal(is.ModTime()) &&
		was.Mode() == is.Mode() && sameOwner(was, is)
}

// Edit replaces a file by what change makes of its content, which is nil if there
// is none yet; its directory is created if need be (mode 0700). The new file has
// mode 0600. What change returns goes to the caller, and nothing is written if
// that is an error, or if the content stays the same. A link is followed.
func Edit(path string, change func(old []byte) ([]byte, error)) error {
	path, unlock, err := open(path)
	if err != nil {
		return err
	}
	defer unlock()
	old, _, err := Read(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	data, err := change(old)
	if err != nil || old != nil && string(data) == string(old) {
		return err
	}
	return replace(path, data)
}

// Create writes a new file, of mode 0600. The error is fs.ErrExist if there is one
// already.
func Create(path string, data []byte) error {
	path, unlock, err := open(path)
	if err != nil {
		return err
	}
	defer unlock()
	if _, err := os.Lstat(path); err == nil {
		return &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	return replace(path, data)
}

// open locks the directory of a file, which it creates if need be. Who cannot be
// trusted with the file cannot be with the lock either.
func open(path string) (target string, unlock func(), err error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return "", nil, err
	}
	if err := checkPlace(path); err != nil {
		return "", nil, err
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	unlock, err = lock(filepath.Dir(path), lockPatience)
	return path, unlock, err
}

// replace makes a file have a new content, durably.
func replace(path string, data []byte) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".peerd-*") // mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	return syncDir(dir)
}
