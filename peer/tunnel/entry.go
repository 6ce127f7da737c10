package tunnel

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Entry is where connections come into a tunnel. Its fields are not changed
// once it serves.
type Entry struct {
	// Handle is called for each connection, in its own goroutine. It closes the
	// connection, and returns soon after its context has ended.
	Handle func(context.Context, net.Conn)
	// Log is told when connections cannot be accepted.
	Log *slog.Logger
}

// Pauses after an accept that failed because something had run out.
const (
	firstPause = 5 * time.Millisecond
	lastPause  = time.Second
)

// Serve accepts connections until the listener fails for good, or ctx has
// ended. Then it closes the listener, ends the handlers' context and returns when
// they have. The error is the listener's, or the context's cause.
func (e Entry) Serve(ctx context.Context, l net.Listener) error {
	var handlers sync.WaitGroup
	defer handlers.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	for pause := firstPause; ; {
		conn, err := l.Accept()
		switch {
		case err == nil:
			pause = firstPause
			handlers.Go(func() { e.Handle(ctx, conn) })
			continue
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case !passes(err):
			return err
		}
		e.Log.Warn("cannot accept a connection, trying again", "listen", l.Addr(), "err", err)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(2*pause, lastPause)
	}
}

// passes reports whether an error of accept is about one connection, or about
// something that has run out, such as file descriptors: the listener is well.
func passes(err error) bool {
	var call *os.SyscallError
	if !errors.As(err, &call) || !strings.HasPrefix(strings.ToLower(call.Syscall), "accept") {
		return false // not a listener of the system's, or not accept's
	}
	return !errors.Is(err, syscall.EBADF) && !errors.Is(err, syscall.EINVAL) && !errors.Is(err, syscall.ENOTSOCK)
}
