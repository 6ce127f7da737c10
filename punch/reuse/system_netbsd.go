package reuse

import (
	"time"

	"golang.org/x/sys/unix"
)

// local is NetBSD, from its manual: setsockopt(2), connect(2) and tcp(4).
//
// All sockets of a port share it if they have SO_REUSEPORT. SO_REUSEADDR alone
// passes over connections that have ended. A listener of the same user that comes
// later can get our connections: there is no pin. connect says EADDRINUSE of a
// 4-tuple in use. The number of SYN-ACKs is the system's; no dial is quiet.
var local = system{
	errnos:    posix,
	share:     options{reuseAddr, reusePort},
	exclusive: options{reuseAddr},
	dial:      options{abrupt, wished(integer("TCP_KEEPINIT", unix.IPPROTO_TCP, unix.TCP_KEEPINIT, synLimitSeconds))},
	hold:      []options{{reuseAddr, reusePort}},
	timeWait:  time.Minute, // twice the MSL of 30 s
	lock:      noLock,
}
