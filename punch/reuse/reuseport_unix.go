//go:build unix && !solaris

package reuse

import "golang.org/x/sys/unix"

// reusePort shares the port with other sockets that have it. A version of the
// system that does not know it is used without.
var reusePort = wished(integer("SO_REUSEPORT", unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
