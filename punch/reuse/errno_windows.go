package reuse

import (
	"errors"

	"golang.org/x/sys/windows"
)

// IsRefused reports whether a dial ended by a RST or an ICMP error.
func IsRefused(err error) bool {
	return isAny(err, windows.WSAECONNREFUSED, windows.WSAECONNRESET, windows.WSAEHOSTUNREACH)
}

// IsTupleInUse reports whether a dial failed because this host has the 4-tuple
// in use.
func IsTupleInUse(err error) bool {
	return isAny(err, windows.WSAEADDRINUSE, windows.WSAEADDRNOTAVAIL)
}

// IsNoAnswer reports whether the system gave up retransmitting a dial's SYN.
func IsNoAnswer(err error) bool { return isAny(err, windows.WSAETIMEDOUT) }

func isInUse(err error) bool { return isAny(err, windows.WSAEADDRINUSE, windows.WSAEACCES) }

func isAny(err error, errnos ...error) bool {
	for _, e := range errnos {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
