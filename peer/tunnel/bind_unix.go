//go:build unix && !linux

package tunnel

import (
	"context"
	"net"
	"sync"
	"syscall"
)

// umask guards the process's file mode creation mask.
var umask sync.Mutex

// bindUnix makes a unix socket and listens. The mask keeps other users out of
// it from the moment on in which it exists.
func bindUnix(ctx context.Context, name string) (net.Listener, error) {
	umask.Lock()
	defer umask.Unlock()
	defer syscall.Umask(syscall.Umask(0o177))
	var c net.ListenConfig
	return c.Listen(ctx, "unix", name)
}
