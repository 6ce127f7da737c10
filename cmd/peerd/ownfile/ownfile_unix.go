//go:build unix

package ownfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

func checkFile(path string, info fs.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("%w: %s has mode %04o; run chmod go-w on it, and look at what it says", ErrUntrusted, path, mode)
	}
	return checkOwner(path, info)
}

func checkOwner(path string, info fs.FileInfo) error {
	if uid := owner(info); uid != 0 && uid != os.Geteuid() {
		return fmt.Errorf("%w: %s belongs to the user %d; run chown on it, and look at what it says", ErrUntrusted, path, uid)
	}
	return nil
}

// owner returns the user to whom a file belongs.
func owner(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }

func sameOwner(was, is fs.FileInfo) bool { return owner(was) == owner(is) }

// checkPlace checks the directories of a path: of the path itself, and of what it
// leads to if it is a link.
func checkPlace(path string) error {
	if err := checkDir(path); err != nil {
		return err
	}
	link, err := os.Lstat(path)
	if err != nil || link.Mode().Type() != fs.ModeSymlink {
		return unlessMissing(err)
	}
	if err := checkOwner(path, link); err != nil { // in a sticky directory it may be anybody's
		return err
	}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return unlessMissing(err)
	}
	return checkDir(real)
}

// unlessMissing returns an error, or nil if it is that there is no such file: then
// there is nothing to distrust.
func unlessMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// checkDir checks the directory in which a file is, or is to be.
func checkDir(path string) error {
	dir := filepath.Dir(path)
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if mode := info.Mode(); mode.Perm()&0o022 != 0 && mode&fs.ModeSticky == 0 {
		return fmt.Errorf("%w: %s is in %s, which has mode %04o; run chmod go-w on that, and look at what the file says", ErrUntrusted, path, dir, mode.Perm())
	}
	if uid := owner(info); uid != 0 && uid != os.Geteuid() {
		return fmt.Errorf("%w: %s is in %s, which belongs to the user %d; be that user, or run chown on it, and look at what the file says", ErrUntrusted, path, dir, uid)
	}
	return nil
}

// syncDir makes a new name in dir survive a power failure.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	// Some file systems cannot sync a directory; the file is none the worse.
	if err := d.Sync(); !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return err
	}
	return nil
}
