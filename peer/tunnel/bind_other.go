//go:build !unix

package tunnel

import (
	"context"
	"net"
)

// bindUnix makes a unix socket and listens. The directory's access list is the
// file's.
func bindUnix(ctx context.Context, name string) (net.Listener, error) {
	var c net.ListenConfig
	return c.Listen(ctx, "unix", name)
}
