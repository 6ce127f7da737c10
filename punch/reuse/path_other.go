//go:build !linux && !darwin

package reuse

import (
	"syscall"
	"time"
)

// RTT returns the kernel's estimate of a connection's round trip, or 0: this
// system does not tell.
func RTT(syscall.Conn) time.Duration { return 0 }

// LimitUnsent has no effect on this system.
func LimitUnsent(syscall.Conn, int) error { return nil }

// Unsent is 0: this system is not asked.
func Unsent(syscall.Conn) int { return 0 }
