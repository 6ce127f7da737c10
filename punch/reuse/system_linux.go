//go:build linux && !android

package reuse

import "time"

// local is Linux: seen on 6.18, and as 2.6 to 3.8 under a filter that takes
// SO_REUSEPORT away.
//
// A listener and dials share a port if all of them have SO_REUSEPORT and are of
// one user. Without it SO_REUSEADDR shares the port among dials, and with nobody
// who listens: dial-only. connect says EADDRNOTAVAIL of a 4-tuple in use, and
// takes over TIME_WAIT where timestamps are on. Dials can be quiet: IP_TTL,
// IP_MINTTL, and their likes for IPv6.
var local = system{
	errnos:    linux,
	share:     options{reuseAddr, reusePort},
	exclusive: options{reuseAddr}, // a listener with it shares with nobody
	listen:    options{synAckCount, pin},
	dial:      options{abrupt, synCount},
	brief:     options{synOnce},
	// With SO_REUSEPORT alone a listener that has only SO_REUSEADDR, as most
	// servers do, does not get the port. With both it would, but they pass over
	// what sockets without SO_REUSEPORT have left.
	hold:     []options{{reusePort}, {reuseAddr, reusePort}},
	timeWait: time.Minute, // the kernel's constant
	lock:     lockByName,
}
