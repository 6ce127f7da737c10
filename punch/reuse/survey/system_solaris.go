package survey

import "golang.org/x/sys/unix"

// reusePort is unknown: neither x/sys nor the headers of illumos have a number
// for it.
const reusePort = 0

const exclusiveName = "SO_EXCLBIND"

// keepToItself keeps every other socket from the port.
func (s socket) keepToItself() error {
	return unix.SetsockoptInt(int(s), unix.SOL_SOCKET, unix.SO_EXCLBIND, 1)
}
