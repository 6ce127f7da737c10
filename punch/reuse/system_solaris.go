//go:build solaris && !illumos

package reuse

import (
	"time"

	"golang.org/x/sys/unix"
)

// local is Solaris, from its manual: setsockopt(3C), connect(3C) and tcp(4P).
//
// SO_REUSEPORT came with 11.4. Its number is not among those that Go knows, and a
// wrong one could set something else, so SO_REUSEADDR has to do, as it does before
// 11.4, which would say ENOPROTOOPT. It passes over connections; whether a port can
// be shared by dials, or even with a listener, is for Probe to find out. The number
// of SYN-ACKs is the system's; no dial is quiet.
var local = system{
	errnos: posix,
	share:  options{reuseAddr},
	// Not SO_EXCLBIND: it undoes SO_REUSEADDR, so what our own connections have
	// left would be a clash for a minute. It would also notice a program that
	// listens on one address only, which stays with that address.
	exclusive: options{reuseAddr},
	dial:      options{abrupt, wished(integer("TCP_CONN_ABORT_THRESHOLD", unix.IPPROTO_TCP, unix.TCP_CONN_ABORT_THRESHOLD, milliseconds(synLimit)))},
	hold:      []options{{reuseAddr}},
	timeWait:  time.Minute, // the tunable tcp_time_wait_interval
	lock:      noLock,
}
