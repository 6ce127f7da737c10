package reuse

import (
	"time"

	"golang.org/x/sys/unix"
)

// local is iOS: macOS’s kernel.
var local = system{
	errnos:    posix,
	share:     options{reuseAddr, reusePort(unix.SO_REUSEPORT)},
	exclusive: options{reuseAddr},
	dial:      options{abrupt, wished(integer("TCP_CONNECTIONTIMEOUT", unix.IPPROTO_TCP, unix.TCP_CONNECTIONTIMEOUT, seconds(synLimit)))},
	hold:      []options{{reuseAddr, reusePort(unix.SO_REUSEPORT)}},
	timeWait:  30 * time.Second,
	lock:      noLock,
}
