package reuse

import (
	"time"

	"golang.org/x/sys/unix"
)

// local is DragonFly, from its manual: setsockopt(2), connect(2) and tcp(4), which
// counts in milliseconds.
//
// All sockets of a port share it if they have SO_REUSEPORT, and since 3.6 the
// listeners that have it get connections in turn: a second one of the same user
// would get half of ours, and there is no pin. SO_REUSEADDR alone passes over
// connections that have ended. connect says EADDRINUSE of a 4-tuple in use. The
// number of SYN-ACKs is the system's; no dial is quiet.
var local = system{
	errnos:    posix,
	share:     options{reuseAddr, reusePort},
	exclusive: options{reuseAddr},
	dial:      options{abrupt, wished(integer("TCP_KEEPINIT", unix.IPPROTO_TCP, unix.TCP_KEEPINIT, synLimitMilliseconds))},
	hold:      []options{{reuseAddr, reusePort}},
	timeWait:  time.Minute, // twice the MSL of 30 s
	lock:      noLock,
}
