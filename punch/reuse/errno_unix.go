//go:build unix

package reuse

import (
	"errors"

	"golang.org/x/sys/unix"
)

// IsRefused reports whether a dial ended by a RST or an ICMP error.
func IsRefused(err error) bool {
	return isAny(err, unix.ECONNREFUSED, unix.ECONNRESET, unix.EHOSTUNREACH)
}

// IsTupleInUse reports whether a dial failed because this host has the 4-tuple
// in use: EADDRNOTAVAIL on Linux, EADDRINUSE on the BSDs.
func IsTupleInUse(err error) bool { return isAny(err, unix.EADDRNOTAVAIL, unix.EADDRINUSE) }

// IsNoAnswer reports whether the kernel gave up retransmitting a dial's SYN.
func IsNoAnswer(err error) bool { return isAny(err, unix.ETIMEDOUT) }

func isInUse(err error) bool { return isAny(err, unix.EADDRINUSE) }

func isAny(err error, errnos ...unix.Errno) bool {
	for _, e := range errnos {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
