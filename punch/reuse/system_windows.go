package reuse

import (
	"syscall"
	"time"

	"golang.org/x/sys/windows"
)

// local is Windows, from its manual (Using SO_REUSEADDR and SO_EXCLUSIVEADDRUSE),
// and Wine 8.0 as seen by us.
//
// SO_REUSEADDR shares a port like SO_REUSEPORT elsewhere, with whoever sets it; the
// newest listener may get our connections, and there is no pin. Wine does not let a
// dial be bound to a listener's port, WSAEACCES: dial-only. SO_EXCLUSIVEADDRUSE
// fails beside any socket that is bound, and by the manual it can also fail while
// connections of the port end. Wine: not for TIME_WAIT.
//
// Options are limited to these: TCP_MAXRT would end a dial, but also a connection
// later; without it a SYN is repeated for about 21 s. No dial is quiet: there is
// no least TTL.
var local = system{
	errnos: errnos{
		refused: []syscall.Errno{
			windows.WSAECONNREFUSED, windows.WSAECONNRESET, // a RST
			windows.WSAEHOSTUNREACH, // ICMP
		},
		tupleInUse: []syscall.Errno{
			windows.WSAEADDRINUSE,    // connect: the 4-tuple; bind: the port
			windows.WSAEADDRNOTAVAIL, // connect, as Wine passes on from Linux
			windows.WSAEACCES,        // bind: somebody has it for himself; Wine: somebody listens
		},
		noAnswer:  []syscall.Errno{windows.WSAETIMEDOUT},
		portInUse: []syscall.Errno{windows.WSAEADDRINUSE, windows.WSAEACCES},
		exhausted: []syscall.Errno{windows.WSAEMFILE, windows.WSAENOBUFS, windows.ERROR_NOT_ENOUGH_MEMORY},
		unknown:   []syscall.Errno{windows.WSAENOPROTOOPT, windows.WSAEINVAL, windows.WSAEOPNOTSUPP},
	},
	share:     options{reuseAddr},
	exclusive: options{integer("SO_EXCLUSIVEADDRUSE", windows.SOL_SOCKET, soExclusiveAddrUse, 1)},
	dial:      options{abrupt},
	hold:      []options{{reuseAddr}},
	timeWait:  2 * time.Minute, // TcpTimedWaitDelay
	lock:      noLock,
}

var reuseAddr = integer("SO_REUSEADDR", windows.SOL_SOCKET, windows.SO_REUSEADDR, 1)

// soExclusiveAddrUse is SO_EXCLUSIVEADDRUSE of winsock2.h, the complement of
// SO_REUSEADDR.
const soExclusiveAddrUse = ^windows.SO_REUSEADDR
