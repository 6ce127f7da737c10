package reuse

import (
	"time"

	"golang.org/x/sys/unix"
)

// local is illumos, from its manual, tcp(4P), and its source, tcp_bind.c.
//
// SO_REUSEADDR lets a socket be bound beside those that connect or are connected,
// and beside none that listens or is only bound: dial-only, and nothing can hold
// the port. SmartOS has SO_REUSEPORT, which may do better; elsewhere its number is
// nobody's and setting it says ENOPROTOOPT (issue 12455 asks for it). What connect
// says of a 4-tuple in use is not known. The number of SYN-ACKs is the system's;
// there is no pin, and no dial is quiet.
var local = system{
	errnos: posix,
	share:  options{reuseAddr, reusePort},
	// With both it fails beside every socket that is bound, listens or is
	// connected, on whatever address, and passes over those that are closing.
	exclusive: options{reuseAddr, wished(integer("SO_EXCLBIND", unix.SOL_SOCKET, unix.SO_EXCLBIND, 1))},
	dial:      options{abrupt, wished(integer("TCP_CONN_ABORT_THRESHOLD", unix.IPPROTO_TCP, unix.TCP_CONN_ABORT_THRESHOLD, synLimitMilliseconds))},
	hold:      []options{{reuseAddr, reusePort}},
	timeWait:  time.Minute, // the tunable _time_wait_interval
	lock:      noLock,
}

// reusePort has SmartOS's number.
var reusePort = wished(integer("SO_REUSEPORT", unix.SOL_SOCKET, 0x2004, 1))
