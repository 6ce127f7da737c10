package natlab

import (
	"net"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// abortSockets ends all TCP sockets of the calling thread's namespace. Sockets that were closed while their last segments were
// on the way would otherwise retransmit into the void and keep the namespace for minutes. A kernel without INET_DIAG_DESTROY
// leaves it at that.
func abortSockets() {
	for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
		// What an interrupted dump returns is as good as a whole one here.
		sockets, _ := netlink.SocketDiagTCP(family)
		for _, s := range sockets {
			local := &net.TCPAddr{IP: s.ID.Source, Port: int(s.ID.SourcePort)}
			remote := &net.TCPAddr{IP: s.ID.Destination, Port: int(s.ID.DestinationPort)}
			netlink.SocketDestroy(local, remote)
		}
	}
}
