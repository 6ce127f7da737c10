package reuse

import (
	"time"

	"golang.org/x/sys/unix"
)

// local is iOS: the kernel of macOS, and what is said of that; see system_darwin.go.
// An app has its network to itself as far as ports go only while it runs.
var local = system{
	errnos:    posix,
	share:     options{reuseAddr, reusePort},
	exclusive: options{reuseAddr},
	dial:      options{abrupt, wished(integer("TCP_CONNECTIONTIMEOUT", unix.IPPROTO_TCP, unix.TCP_CONNECTIONTIMEOUT, synLimitSeconds))},
	hold:      []options{{reuseAddr, reusePort}},
	timeWait:  30 * time.Second, // twice net.inet.tcp.msl, 15 s
	lock:      noLock,
}
