package reuse

import "time"

// local is AIX, from its manual: setsockopt and the tunables of no.
//
// All sockets of a port share it if they have SO_REUSEPORT; since 7.2.5 listeners
// that have it get connections in turn, and there is no pin. SO_REUSEADDR alone
// passes over connections that have ended. How long a SYN is repeated is the
// tunable tcp_keepinit, 75 s, for all programs: a dial has no limit but its
// context. The number of SYN-ACKs is the system's; no dial is quiet.
var local = system{
	errnos:    posix,
	share:     options{reuseAddr, reusePort},
	exclusive: options{reuseAddr},
	dial:      options{abrupt},
	hold:      []options{{reuseAddr, reusePort}},
	timeWait:  15 * time.Second, // the tunable tcp_timewait
	lock:      noLock,
}
