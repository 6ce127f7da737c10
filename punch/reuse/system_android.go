package reuse

import (
	"time"

	"golang.org/x/sys/unix"
)

// local is Android: Linux's kernel, with policies of its own. From its manual.
var local = system{
	errnos:    posix,
	share:     options{reuseAddr, reusePort(unix.SO_REUSEPORT)}, // every kernel since Android 5
	exclusive: options{reuseAddr},
	listen:    options{synAcks, wished(pin)},
	dial:      options{abrupt, synCount},
	hold:      []options{{reusePort(unix.SO_REUSEPORT)}, {reuseAddr, reusePort(unix.SO_REUSEPORT)}},
	timeWait:  time.Minute,
	lock:      lockByName,
}
