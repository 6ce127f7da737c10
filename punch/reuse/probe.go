package reuse

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// Capabilities is what this system was seen to do with one local port, not what
// its manual says.
type Capabilities struct {
	Mode        Mode  // the best that works here
	NotShared   error // why Shared does not work; nil if it does
	NotDialOnly error // why DialOnly does not work; nil if it does
	ReusePort   bool  // SO_REUSEPORT exists and can be set
	Pinned      bool  // a second listener on all addresses gets nothing
	QuietDial   bool  // Begin takes a TTL
}

// Limits of probing. On loopback everything is a matter of microseconds; a
// system that lets a dial hang is waited for.
const (
	probeLimit = 10 * time.Second
	stepLimit  = time.Second
)

// Probe tries on loopback what Claim and Begin do, with the very same options,
// and says what comes of it: a system may know an option without its having an
// effect, or fail where it is least expected. Nothing of it is left behind, not
// even TIME_WAIT. An error means that nothing was found out, such as for lack
// of descriptors or because ctx has ended, whose error it then wraps.
func Probe(ctx context.Context) (Capabilities, error) {
	limited, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	c, err := probe(limited)
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if err != nil {
		return Capabilities{}, fmt.Errorf("finding out how this system shares a local port: %w", err)
	}
	return c, nil
}

func probe(ctx context.Context) (c Capabilities, err error) {
	b, err := newBench(ctx)
	if err != nil {
		return c, err
	}
	defer b.close()
	if why, err := b.whyNot(b.sequential); err != nil || why != nil {
		return c, errors.Join(err, why) // then nothing can be said about the others
	}
	if c.NotDialOnly, err = b.whyNot(b.dialOnly); err != nil {
		return c, err
	}
	if c.NotShared, err = b.whyNot(b.shared); err != nil {
		return c, err
	}
	c.Mode = best(c)
	if c.ReusePort, err = b.reusePort(); err != nil {
		return c, err
	}
	notQuiet, err := b.whyNot(b.quietDial)
	if err != nil {
		return c, err
	}
	c.QuietDial = notQuiet == nil
	if c.Mode == Shared {
		c.Pinned, err = b.pinned()
	}
	return c, err
}

func best(c Capabilities) Mode {
	switch {
	case c.NotShared == nil:
		return Shared
	case c.NotDialOnly == nil:
		return DialOnly
	default:
		return Sequential
	}
}

// bench is two listeners on loopback that are dialled from a port. Nothing is
// accepted from them: connections are complete without.
type bench struct {
	ctx     context.Context
	targets [2]net.Listener
}

// newBench listens on the loopback of one of the host's address families.
func newBench(ctx context.Context) (*bench, error) {
	var errs []error
	for _, loopback := range []string{"127.0.0.1:0", "[::1]:0"} {
		b := &bench{ctx: ctx}
		err := b.listen(loopback)
		if err == nil {
			return b, nil
		}
		b.close()
		if errs = append(errs, err); isAny(err, local.exhausted) {
			break // nothing is known of the address family
		}
	}
	return nil, errs[0] // IPv4's, which more hosts have
}

func (b *bench) listen(loopback string) (err error) {
	for i := range b.targets {
		if b.targets[i], err = net.Listen("tcp", loopback); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) close() {
	for _, l := range b.targets {
		if l != nil {
			l.Close()
		}
	}
}

// probeTries is how often something has to fail before it is said not to work:
// another program can have come between.
const probeTries = 2

// whyNot tries something. What made it fail is the reason why it does not work,
// or an error if that says nothing about it.
func (b *bench) whyNot(try func() error) (why, err error) {
	for range probeTries {
		why = try()
		switch {
		case why == nil:
			return nil, nil
		case isAny(why, local.exhausted) || b.ctx.Err() != nil:
			return nil, why
		}
	}
	return why, nil
}

// sequential dials twice, one after the other. This works everywhere.
func (b *bench) sequential() error { return b.dialInTurn(0, 0, 1) }

// quietDial makes a quiet dial.
func (b *bench) quietDial() error { return b.dialInTurn(probeTTL, 0) }

// probeTTL reaches loopback.
const probeTTL = 8

// dialInTurn dials targets from one port, one after the other.
func (b *bench) dialInTurn(ttl int, targets ...int) error {
	p, err := Claim(0, Sequential)
	if err != nil {
		return err
	}
	defer p.Close()
	for _, target := range targets {
		conn, err := b.dial(p, target, ttl)
		if err != nil {
			return err
		}
		discard(conn)
	}
	return nil
}

// dialOnly has two connections from one port, without a listener.
func (b *bench) dialOnly() error {
	p, err := Claim(0, DialOnly)
	if err != nil {
		return why("claiming a port without a listener", err)
	}
	defer p.Close()
	return b.dialTwice(p, "a second dial from one port", func() error { return nil })
}

// shared has two connections from the port of a listener that is reached; and it
// is reached, too, if it opens while they exist.
func (b *bench) shared() error {
	p, err := Claim(0, Shared)
	if err != nil {
		return why("claiming a port with a listener", err)
	}
	defer p.Close()
	return b.dialTwice(p, "a dial from the listener's port", func() error {
		if err := b.reach(p); err != nil {
			return why("reaching the listener beside dials", err)
		}
		if err := b.reopen(p); err != nil {
			return why("a listener on the dials' port", err)
		}
		return why("reaching a listener that is younger than dials", b.reach(p))
	})
}

// dialTwice calls f while there is a connection from the port to both targets.
func (b *bench) dialTwice(p *Port, what string, f func() error) error {
	for i := range b.targets {
		conn, err := b.dial(p, i, 0)
		if err != nil {
			return why(what, err)
		}
		defer discard(conn)
	}
	return f()
}

func why(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, reason(err))
}

// dial connects to a target from a port.
func (b *bench) dial(p *Port, target, ttl int) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(b.ctx, stepLimit)
	defer cancel()
	to := addrPort(b.targets[target].Addr())
	return p.Begin(to, ttl, time.Time{}).Wait(ctx)
}

// reusePort reports whether SO_REUSEPORT can be set, and is set then.
func (b *bench) reusePort() (takes bool, err error) {
	lc := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { takes = local.share.takes("SO_REUSEPORT", fd) })
	}}
	l, err := lc.Listen(b.ctx, b.network(), netip.AddrPortFrom(b.loopback(), 0).String())
	if err != nil {
		return false, err
	}
	return takes, l.Close()
}

// discard closes a connection so that nothing is left of it.
func discard(conn net.Conn) {
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
}
