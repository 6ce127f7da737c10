//go:build solaris && !illumos

package reuse

import (
	"time"

	"golang.org/x/sys/unix"
)

// local is Solaris, from its manual, tcp(4P), and where that is silent from the
// source of illumos, which was Solaris 10.
//
// SO_REUSEADDR lets a socket be bound beside those that connect or are connected,
// and beside none that listens or is only bound: dial-only, and nothing can hold
// the port. SO_REUSEPORT came with 11.4, under a number that Go does not have, and a
// wrong one could set something else: it is not used. What connect says of a 4-tuple
// in use is not known. The number of SYN-ACKs is the system's; there is no pin, and
// no dial is quiet.
var local = system{
	errnos: posix,
	share:  options{reuseAddr},
	// With both it fails beside every socket that is bound, listens or is
	// connected, on whatever address, and passes over those that are closing.
	exclusive: options{reuseAddr, wished(integer("SO_EXCLBIND", unix.SOL_SOCKET, unix.SO_EXCLBIND, 1))},
	dial:      options{abrupt, wished(integer("TCP_CONN_ABORT_THRESHOLD", unix.IPPROTO_TCP, unix.TCP_CONN_ABORT_THRESHOLD, synLimitMilliseconds))},
	hold:      []options{{reuseAddr}},
	timeWait:  time.Minute, // the tunable tcp_time_wait_interval
	lock:      noLock,
}
