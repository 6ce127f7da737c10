//go:build unix

package reuse

import (
	"syscall"

	"golang.org/x/sys/unix"
)

func nameOfErrno(e syscall.Errno) string { return unix.ErrnoName(e) }
