//go:build !linux

package main

import (
	"errors"
	"net"
	"syscall"
)

// awaitUnread is for the lab, which needs Linux.
func awaitUnread(*net.TCPConn) error { return errors.ErrUnsupported }

// sharePort is for the lab, which needs Linux.
func sharePort(_, _ string, _ syscall.RawConn) error { return errors.ErrUnsupported }
