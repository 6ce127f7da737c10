package natlab

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
)

// Host is a machine of the lab. Its methods are safe for concurrent use.
type Host struct {
	name               string
	ns                 *namespace
	alternate, gateway netip.Addr
	gateway6           netip.Addr // with IPv6
	plug               plug
	cut                func(bool) error

	// ctx ends when the lab is closed.
	ctx    context.Context
	cancel context.CancelFunc

	mu       sync.Mutex
	addrs    []netip.Prefix // its own, the main one first
	public   netip.Addr
	commands map[*Cmd]struct{} // started and not yet waited for
	captures map[*Capture]struct{}
	closed   bool
}

// Addr is the host's own address: a private one behind a NAT.
func (h *Host) Addr() netip.Addr { return h.addresses()[0].Addr() }

// Addr6 is the host's global IPv6 address, or the zero Addr in a lab without IPv6.
func (h *Host) Addr6() netip.Addr {
	for _, a := range h.addresses() {
		if a.Addr().Is6() {
			return a.Addr()
		}
	}
	return netip.Addr{}
}

// PublicAddr is the outside address of the host's NAT, the first one of several, or Addr without one.
func (h *Host) PublicAddr() netip.Addr {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.public
}

// Alternate is the server's second address; hosts A and B have none.
func (h *Host) Alternate() netip.Addr { return h.alternate }

// Gateway is the router that the host's default route points to.
func (h *Host) Gateway() netip.Addr { return h.gateway }

// Name is "A", "B" or "server".
func (h *Host) Name() string { return h.name }

// Do runs f on an OS thread inside the host's namespace and returns its error. Sockets that f makes belong to the host for
// good, on whatever thread they are used; goroutines that f starts are outside.
func (h *Host) Do(f func() error) error { return h.ns.do(f) }

// Listen announces on a TCP address of the host. Without a host in it that is IPv4, and IPv6 where the lab has it.
func (h *Host) Listen(addr string) (l net.Listener, err error) {
	network := "tcp4"
	if h.Addr6().IsValid() {
		network = "tcp"
	}
	err = h.Do(func() (err error) {
		l, err = net.Listen(network, addr)
		return err
	})
	return l, err
}

// Dial connects from the host to a literal TCP address. It gives up when ctx ends or the lab is closed.
func (h *Host) Dial(ctx context.Context, addr string) (c net.Conn, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(h.ctx, cancel)()
	err = h.Do(func() (err error) {
		var d net.Dialer
		c, err = d.DialContext(ctx, "tcp", addr)
		return err
	})
	return c, err
}

// close kills the host's processes and ends its captures.
func (h *Host) close() {
	h.cancel()
	h.mu.Lock()
	h.closed = true
	commands, captures := h.commands, h.captures
	h.commands, h.captures = nil, nil
	h.mu.Unlock()
	for c := range commands {
		c.Process.Kill()
	}
	killAll(h.ns)
	for c := range commands {
		c.Wait()
	}
	for c := range captures {
		c.Close()
	}
}

// adopt registers what Close must end; it fails once the lab is closed.
func adopt[T comparable](h *Host, set *map[T]struct{}, v T) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return errClosed
	}
	if *set == nil {
		*set = map[T]struct{}{}
	}
	(*set)[v] = struct{}{}
	return nil
}

func release[T comparable](h *Host, set *map[T]struct{}, v T) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(*set, v)
}

var errUsed = errors.New("natlab: Stdout or Stderr is already set")
