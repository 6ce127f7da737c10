package reuse

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"
)

// errStolen says that the port's listener is not the one that was reached.
var errStolen = errors.New("a connection to the port did not come to its listener")

// reach connects to the port's listener as a stranger would.
func (b *bench) reach(p *Port) error {
	l := b.listener(p)
	l.SetDeadline(time.Now().Add(stepLimit))
	return b.reachListener(l)
}

func (b *bench) reachListener(l *net.TCPListener) error {
	to := netip.AddrPortFrom(b.loopback(), addrPort(l.Addr()).Port())
	dialer := net.Dialer{Timeout: stepLimit}
	stranger, err := dialer.DialContext(b.ctx, "tcp", to.String())
	if err != nil {
		return err
	}
	defer discard(stranger)
	defer context.AfterFunc(b.ctx, func() { l.SetDeadline(time.Unix(1, 0)) })()
	conn, err := l.Accept()
	if err != nil {
		return err
	}
	defer discard(conn)
	if conn.RemoteAddr().String() != stranger.LocalAddr().String() {
		return errStolen
	}
	return nil
}

// reopen closes the listener that reach uses and opens it again.
func (b *bench) reopen(p *Port) error {
	b.listener(p).Close()
	return p.listen(b.network())
}

// listener returns the newest listener of the targets' address family.
func (b *bench) listener(p *Port) (newest *net.TCPListener) {
	for _, l := range p.listeners {
		if networkOf(addrPort(l.Addr()).Addr()) == b.network() {
			newest = l.(*net.TCPListener)
		}
	}
	return newest
}

// loopback is the address of the targets.
func (b *bench) loopback() netip.Addr { return addrPort(b.targets[0].Addr()).Addr() }

func (b *bench) network() string { return networkOf(b.loopback()) }

func networkOf(addr netip.Addr) string {
	if addr.Is4() {
		return "tcp4"
	}
	return "tcp6"
}

func addrPort(a net.Addr) netip.AddrPort {
	ap := a.(*net.TCPAddr).AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}

// strangers is how many connections have to come to our listener beside another
// before the port is said to be pinned. Where the system tosses a coin, it is
// wrong once in 65536 starts.
const strangers = 16

// pinned opens a second listener on the port, as another program of this user
// could, and reports whether it gets none of the connections.
func (b *bench) pinned() (bool, error) {
	p, err := Claim(0, Shared)
	if err != nil {
		return false, err
	}
	defer p.Close()
	thief, err := p.open(b.network(), local.share)
	if isAny(err, local.exhausted) {
		return false, err
	}
	if err != nil {
		return true, nil // there can be none
	}
	l := b.listener(p)
	l.SetDeadline(time.Now().Add(stepLimit))
	done := make(chan struct{})
	go giveUpWhenStolen(thief, l, done)
	defer func() { thief.Close(); <-done }()
	for range strangers {
		if b.reachListener(l) != nil {
			return false, nil
		}
	}
	return true, nil
}

// giveUpWhenStolen ends the wait for a connection that the thief has got.
func giveUpWhenStolen(thief net.Listener, l *net.TCPListener, done chan<- struct{}) {
	defer close(done)
	if conn, err := thief.Accept(); err == nil {
		discard(conn)
		l.SetDeadline(time.Unix(1, 0))
	}
}
