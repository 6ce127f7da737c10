package tunnel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
)

// Listen listens there. A unix socket is only for this user (mode 0600), and
// goes away with the listener. One that exists already is left alone, unless it
// is this user's and nobody has it open any more, where the system lets that be
// told: then it is replaced. The error names the place.
func (b Bind) Listen(ctx context.Context) (net.Listener, error) {
	if b.Path != "" {
		return listenUnix(ctx, b.Path)
	}
	var c net.ListenConfig
	l, err := c.Listen(ctx, "tcp", b.address())
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s: %w", b.address(), withoutAddress(err))
	}
	return l, nil
}

// address is what net.Listen takes.
func (b Bind) address() string {
	switch b.Host {
	case "":
		return joinHostPort("127.0.0.1", b.Port)
	case "*":
		return joinHostPort("", b.Port)
	}
	return joinHostPort(b.Host, b.Port)
}

// shortPath is a length in bytes that every system allows the path of a unix
// socket.
const shortPath = 90

func listenUnix(ctx context.Context, name string) (net.Listener, error) {
	if strings.HasPrefix(name, "@") {
		name = "./" + name // a file, where some systems have names that are none
	}
	l, err := bindOrReplace(ctx, name)
	switch {
	case errors.Is(err, syscall.EINVAL) && len(name) > shortPath:
		return nil, fmt.Errorf("cannot listen on %s%s: the path is too long for a unix socket; choose another", unixPrefix, name)
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("cannot listen on %s%s: %s", unixPrefix, name, occupant(name))
	case errors.Is(err, syscall.ENOENT):
		return nil, fmt.Errorf("cannot listen on %s%s: there is no such directory; create it", unixPrefix, name)
	case err != nil:
		return nil, fmt.Errorf("cannot listen on %s%s: %w", unixPrefix, name, withoutAddress(err))
	}
	own := &unixListener{UnixListener: l.(*net.UnixListener), name: name}
	own.SetUnlinkOnClose(false)
	own.file, _ = os.Lstat(name)
	return own, nil
}

// bindOrReplace makes a unix socket and listens, in the place of a dead one if
// need be.
func bindOrReplace(ctx context.Context, name string) (net.Listener, error) {
	release, unclaimed := claim(ctx, name)
	if unclaimed != nil {
		return bindUnix(ctx, name)
	}
	defer release()
	l, err := bindUnix(ctx, name)
	if errors.Is(err, syscall.EADDRINUSE) && removeDead(name) {
		l, err = bindUnix(ctx, name)
	}
	return l, err
}

// unixListener removes its socket when it is closed, unless somebody has put
// another one in its place.
type unixListener struct {
	*net.UnixListener
	name string
	file os.FileInfo // nil if it went away at once
	once sync.Once
}

// Close implements net.Listener.
func (l *unixListener) Close() error {
	l.once.Do(func() {
		if now, err := os.Lstat(l.name); err == nil && l.file != nil && os.SameFile(now, l.file) {
			os.Remove(l.name)
		}
	})
	return l.UnixListener.Close()
}

// occupant says what is where a unix socket is to be.
func occupant(name string) string {
	info, err := os.Lstat(name)
	if err == nil && info.Mode().Type() != os.ModeSocket {
		return "a file is in its place; remove it or choose another path"
	}
	conn, err := net.Dial("unix", name)
	switch {
	case err == nil:
		conn.Close()
		return "another program listens there; stop it or choose another path"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "a program that is gone has left its socket there; remove it"
	}
	return "the path is taken; choose another"
}

// withoutAddress strips what the caller names in its own words.
func withoutAddress(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}
