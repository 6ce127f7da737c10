package tunnel

import (
	"context"
	"net"
	"syscall"
)

// bindUnix makes a unix socket and listens. On Linux the mode of the socket
// itself is that of the file from the moment on in which it exists.
func bindUnix(ctx context.Context, name string) (net.Listener, error) {
	c := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		if cerr := raw.Control(func(fd uintptr) { err = syscall.Fchmod(int(fd), 0o600) }); cerr != nil {
			return cerr
		}
		return err
	}}
	return c.Listen(ctx, "unix", name)
}
