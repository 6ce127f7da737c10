//go:build linux || darwin || freebsd || netbsd || openbsd || dragonfly

package ownfile

import (
	"errors"
	"os"
	"syscall"
)

// tryLock locks a file until it is closed, unless another program has done so.
func tryLock(f *os.File) (locked bool, err error) {
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) || errors.Is(err, syscall.EINTR) {
		return false, nil
	}
	return err == nil, err
}
