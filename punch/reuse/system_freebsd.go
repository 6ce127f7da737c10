package reuse

import (
	"time"

	"golang.org/x/sys/unix"
)

// local is FreeBSD, from its manual.
var local = system{
	errnos:    posix,
	share:     options{reuseAddr, reusePort(unix.SO_REUSEPORT)},
	exclusive: options{reuseAddr},
	dial:      options{abrupt, wished(integer("TCP_KEEPINIT", unix.IPPROTO_TCP, unix.TCP_KEEPINIT, seconds(synLimit)))},
	hold:      []options{{reuseAddr, reusePort(unix.SO_REUSEPORT)}},
	timeWait:  time.Minute,
	lock:      noLock,
}
