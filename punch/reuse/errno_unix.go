//go:build unix

package reuse

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// posix is what the unix systems have in common. Of the two that connect says of
// a 4-tuple in use, EADDRNOTAVAIL was seen on Linux and EADDRINUSE is what the
// BSDs' manuals have; from bind, EADDRINUSE is the port's everywhere.
var posix = errnos{
	refused:    []syscall.Errno{unix.ECONNREFUSED, unix.ECONNRESET, unix.EHOSTUNREACH},
	answered:   []syscall.Errno{unix.ECONNRESET}, // in SYN_SENT it is ECONNREFUSED
	tupleInUse: []syscall.Errno{unix.EADDRNOTAVAIL, unix.EADDRINUSE},
	noAnswer:   []syscall.Errno{unix.ETIMEDOUT},
	icmp:       []syscall.Errno{unix.EHOSTUNREACH, unix.ENETUNREACH},
	portInUse:  []syscall.Errno{unix.EADDRINUSE},
	exhausted:  []syscall.Errno{unix.EMFILE, unix.ENFILE, unix.ENOBUFS, unix.ENOMEM},
	unknown:    []syscall.Errno{unix.ENOPROTOOPT, unix.EINVAL, unix.EOPNOTSUPP},
}
