//go:build solaris && !illumos

package reuse

import (
	"time"

	"golang.org/x/sys/unix"
)

// local is Solaris, from its manual.
var local = system{
	errnos:    posix,
	share:     options{reuseAddr},
	exclusive: options{wished(integer("SO_EXCLBIND", unix.SOL_SOCKET, unix.SO_EXCLBIND, 1))},
	dial:      options{abrupt, wished(integer("TCP_CONN_ABORT_THRESHOLD", unix.IPPROTO_TCP, unix.TCP_CONN_ABORT_THRESHOLD, milliseconds(synLimit)))},
	hold:      []options{{reuseAddr}},
	timeWait:  time.Minute,
	lock:      noLock,
}
