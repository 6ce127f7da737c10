package reuse

import (
	"syscall"
	"time"

	"golang.org/x/sys/windows"
)

// local is Windows, from its manual.
var local = system{
	errnos: errnos{
		refused:    []syscall.Errno{windows.WSAECONNREFUSED, windows.WSAECONNRESET, windows.WSAEHOSTUNREACH, windows.WSAENETUNREACH},
		tupleInUse: []syscall.Errno{windows.WSAEADDRINUSE, windows.WSAEADDRNOTAVAIL, windows.WSAEACCES},
		noAnswer:   []syscall.Errno{windows.WSAETIMEDOUT},
		portInUse:  []syscall.Errno{windows.WSAEADDRINUSE, windows.WSAEACCES},
		exhausted:  []syscall.Errno{windows.WSAEMFILE, windows.WSAENOBUFS, windows.ERROR_NOT_ENOUGH_MEMORY},
		unknown:    []syscall.Errno{windows.WSAENOPROTOOPT, windows.WSAEINVAL, windows.WSAEOPNOTSUPP},
	},
	share:     options{integer("SO_REUSEADDR", windows.SOL_SOCKET, windows.SO_REUSEADDR, 1)},
	exclusive: options{integer("SO_EXCLUSIVEADDRUSE", windows.SOL_SOCKET, soExclusiveAddrUse, 1)},
	dial:      options{abrupt},
	hold:      []options{{integer("SO_REUSEADDR", windows.SOL_SOCKET, windows.SO_REUSEADDR, 1)}},
	timeWait:  2 * time.Minute,
	lock:      noLock,
}

// soExclusiveAddrUse is SO_EXCLUSIVEADDRUSE of winsock2.h, the complement of
// SO_REUSEADDR.
const soExclusiveAddrUse = ^windows.SO_REUSEADDR
