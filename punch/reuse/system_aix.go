package reuse

import (
	"time"

	"golang.org/x/sys/unix"
)

// local is AIX, from its manual.
var local = system{
	errnos:    posix,
	share:     options{reuseAddr, reusePort(unix.SO_REUSEPORT)},
	exclusive: options{reuseAddr},
	dial:      options{abrupt},
	hold:      []options{{reuseAddr, reusePort(unix.SO_REUSEPORT)}},
	timeWait:  15 * time.Second,
	lock:      noLock,
}
