//go:build linux && !android

package reuse

import (
	"time"

	"golang.org/x/sys/unix"
)

// local is Linux, as seen on 6.18.
var local = system{
	errnos: posix,
	// A listener and dialers share a port if all have SO_REUSEPORT. Before 3.9
	// there is none, and SO_REUSEADDR shares a port only while nobody listens on
	// it.
	share: options{reuseAddr, reusePort(unix.SO_REUSEPORT)},
	// SO_REUSEADDR alone is shared with nobody who listens.
	exclusive: options{reuseAddr},
	listen:    options{synAcks, wished(pin)}, // from 4.5 on; until then another listener of this user gets a share
	dial:      options{abrupt, synCount},
	// With SO_REUSEPORT alone the held port is shared only with sockets of this
	// user that have it, too. SO_REUSEADDR, too, where it cannot be had for what
	// is left of earlier connections, or where there is no SO_REUSEPORT: then
	// whoever sets it may listen.
	hold:     []options{{reusePort(unix.SO_REUSEPORT)}, {reuseAddr, reusePort(unix.SO_REUSEPORT)}},
	timeWait: time.Minute, // fixed: TCP_TIMEWAIT_LEN
	lock:     lockByName,
}
