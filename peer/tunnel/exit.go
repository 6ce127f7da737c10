package tunnel

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"
)

// ErrNotPermitted means that the policy does not let a peer have what it asks
// for.
var ErrNotPermitted = errors.New("not permitted")

// ErrNoAnswer means that the host of a target does not answer.
var ErrNoAnswer = errors.New("no answer")

// Exit is where tunnels of one peer leave: what the peer may open here. The
// zero value permits nothing.
type Exit struct {
	// Names are the exposed targets: the address, HOST:PORT or unix:/path, by
	// the name that peers use.
	Names map[string]string
	// Permit are the entries of permit-open, for which see CheckOpen. Nil
	// permits every name of Names, and nothing else.
	Permit []string
}

// Dial connects to a target. It returns ErrNotPermitted, or why the target was
// not reached. What a host's name stands for is looked up once, and only the
// addresses that are permitted are dialled, one after the other.
func (e Exit) Dial(ctx context.Context, target string) (End, error) {
	if addr, ok := e.Names[target]; ok && (e.Permit == nil || Permitted(e.Permit, target)) {
		return dial(ctx, addr)
	}
	permit := rules(e.Permit, parseOpenRule)
	if name, ok := strings.CutPrefix(target, unixPrefix); ok {
		if !slices.ContainsFunc(permit, func(r rule) bool { return name != "" && r.path == name }) {
			return nil, ErrNotPermitted
		}
		return dial(ctx, target)
	}
	host, port, err := hostAndPort(target)
	mayOpen := func(r rule) bool { return r.mayOpen(host, port) }
	if err != nil || !slices.ContainsFunc(permit, mayOpen) {
		return nil, ErrNotPermitted
	}
	addrs, err := lookup(ctx, host)
	if err != nil {
		return nil, err
	}
	return dialFirst(ctx, permitted(permit, host, port, addrs))
}

// DialLocal connects to a target of this side's own user, who may have
// anything: a port of the loopback, HOST:PORT or unix:/path.
func DialLocal(ctx context.Context, target string) (End, error) {
	if isNumber(target) {
		return Exit{Permit: []string{target}}.Dial(ctx, target)
	}
	return dial(ctx, target)
}

// hostAndPort splits a target; a port alone is one of the loopback.
func hostAndPort(target string) (host string, port uint16, err error) {
	if isNumber(target) {
		port, err = parsePort(target, 1)
		return "", port, err
	}
	return splitHostPort(target)
}

// lookup returns the addresses of a host, "" being this one.
func lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if host == "" {
		return []netip.Addr{localhost, netip.IPv6Loopback()}, nil
	}
	if addr, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{addr}, nil
	}
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

// permitted returns those of a host's addresses that may be dialled, in order.
func permitted(permit []rule, host string, port uint16, addrs []netip.Addr) []netip.AddrPort {
	var list []netip.AddrPort
	for _, addr := range addrs {
		to := netip.AddrPortFrom(addr.Unmap(), port)
		if slices.ContainsFunc(permit, func(r rule) bool { return r.opens(host, to) }) {
			list = append(list, to)
		}
	}
	return list
}

// dialFirst connects to the first address that answers. Each gets its share of
// the time that is left.
func dialFirst(ctx context.Context, addrs []netip.AddrPort) (End, error) {
	err := ErrNotPermitted
	for i, to := range addrs {
		var end End
		attempt, cancel := share(ctx, len(addrs)-i)
		end, err = dial(attempt, to.String())
		cancel()
		if err == nil {
			return end, nil
		}
	}
	return nil, err
}

// share returns a context with one of n parts of the time that is left.
func share(ctx context.Context, n int) (context.Context, context.CancelFunc) {
	deadline, ok := ctx.Deadline()
	if !ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, time.Until(deadline)/time.Duration(n))
}

// dial connects to HOST:PORT or unix:/path.
func dial(ctx context.Context, addr string) (End, error) {
	network := "tcp"
	if name, ok := strings.CutPrefix(addr, unixPrefix); ok {
		network, addr = "unix", name
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, network, addr)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, ErrNoAnswer
	case err != nil:
		return nil, err
	}
	return NewSocket(conn), nil
}

// IsUnreachable reports whether a target was not reached because its host was
// not, in contrast to one whose host has refused the connection.
func IsUnreachable(err error) bool {
	var name *net.DNSError
	return errors.Is(err, ErrNoAnswer) || errors.As(err, &name) ||
		errors.Is(err, syscall.ETIMEDOUT) || errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH)
}

// Listen listens where a peer asks for it: PORT of the loopback, HOST:PORT,
// *:PORT for all interfaces, or unix:/path. Permit are the entries of
// permit-listen, for which see CheckListen. It returns ErrNotPermitted, or why
// that cannot be listened on.
func Listen(ctx context.Context, bind string, permit []string) (net.Listener, error) {
	b, ok := permittedBind(bind, permit)
	if !ok {
		return nil, ErrNotPermitted
	}
	return b.Listen(ctx)
}

// MayListen reports whether Listen would listen there as far as permit goes.
func MayListen(bind string, permit []string) bool {
	_, ok := permittedBind(bind, permit)
	return ok
}

// permittedBind returns what bind stands for if permit has it.
func permittedBind(bind string, permit []string) (b Bind, ok bool) {
	b, err := ParseBind(bind)
	if err != nil {
		return Bind{}, false
	}
	b = b.canonical()
	return b, slices.ContainsFunc(rules(permit, parseListenRule), func(r rule) bool { return r.listens(b) })
}

// canonical has the loopback's address and those for all interfaces in one form.
func (b Bind) canonical() Bind {
	addr, err := netip.ParseAddr(b.Host)
	addr = addr.Unmap()
	switch {
	case b.Path != "":
	case b.Host == "" || strings.EqualFold(b.Host, "localhost"):
		b.Host = localhost.String()
	case err == nil && addr.IsLoopback():
		b.Host = addr.WithZone("").String()
	case err == nil:
		b.Host = addr.String()
	}
	return b
}
