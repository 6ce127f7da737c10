//go:build unix

package identity

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
)

// install gives the file temp the name path as well, unless something has that
// name already: then the error is fs.ErrExist.
func install(temp, path string) error {
	err := os.Link(temp, path)
	if noHardLinks(err) {
		return installLocked(temp, path, err)
	}
	return err
}

// noHardLinks reports whether link failed because it always does here: FAT has
// no hard links, and Android forbids them to its apps.
func noHardLinks(err error) bool {
	for _, errno := range []syscall.Errno{syscall.EPERM, syscall.EACCES, syscall.ENOTSUP, syscall.EOPNOTSUPP, syscall.ENOSYS} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// exposed reports whether others than the owner can read or write the file.
func exposed(info fs.FileInfo) bool { return info.Mode().Perm()&0o077 != 0 }

// syncDir makes a new name in dir survive a power failure.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	// Some file systems cannot sync a directory; the key is none the worse.
	if err := d.Sync(); !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSUP) {
		return err
	}
	return nil
}
