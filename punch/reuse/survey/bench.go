package survey

import (
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// patience bounds the wait for what a system does at once on its own addresses.
const patience = time.Second

// failure is a system call's error.
type failure struct {
	call string
	err  error
}

// Error returns the call and the errno's name, as in "bind EADDRINUSE".
func (f *failure) Error() string {
	if f.err == errNoOption {
		return f.err.Error()
	}
	return f.call + " " + errnoName(f.err)
}

// Unwrap returns the errno.
func (f *failure) Unwrap() error { return f.err }

func failed(call string, err error) error {
	if err == nil {
		return nil
	}
	return &failure{call, err}
}

// errTimeout is the error of what should have happened at once, and did not.
var errTimeout = errors.New("timeout")

// bench holds the sockets of one attempt, and the port number that it is about.
type bench struct {
	host    *Host
	udp     bool
	number  uint16
	sockets []socket
}

// newBench takes a port number for itself. It has to be closed.
func (h *Host) newBench(udp bool) (*bench, error) {
	b := &bench{host: h, udp: udp}
	if err := b.takeNumber(); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

// close closes all sockets, connections by a reset, so that nothing is left of
// them.
func (b *bench) close() {
	for i := len(b.sockets) - 1; i >= 0; i-- {
		b.sockets[i].close()
	}
	b.sockets = nil
}

// drop closes one of the sockets now.
func (b *bench) drop(s socket) {
	for i := range b.sockets {
		if b.sockets[i] == s {
			b.sockets = append(b.sockets[:i], b.sockets[i+1:]...)
			s.close()
			return
		}
	}
}

// Port numbers that are tried lie where systems choose none for a socket that
// does not say: Linux and Solaris from 32768 on, most others from 49152.
const (
	firstNumber = 20000
	numbers     = 12000
	numberTries = 200
)

// takeNumber finds a port number that nobody uses on any address, and holds it
// while the bench is open. What holds it is a socket of the other protocol,
// which has numbers of its own and so is not in the way of what is tried. Even
// numbers are for TCP and odd ones for UDP: the holders of one survey then never
// meet the sockets that another one tries.
func (b *bench) takeNumber() error {
	var err error
	for range numberTries {
		b.number = b.host.nextNumber(b.udp)
		if err = b.hold(); err == nil || !isInUse(errnoOf(err)) {
			return err
		}
	}
	return fmt.Errorf("no free port found from %d to %d, last %w", firstNumber, firstNumber+numbers-1, err)
}

// nextNumber returns even numbers for TCP and odd ones for UDP.
func (h *Host) nextNumber(udp bool) uint16 {
	n := (h.turn.Add(1) * 2) % numbers
	if udp {
		n++
	}
	return uint16(firstNumber + n)
}

func (b *bench) hold() error {
	holder, err := b.exclusive(!b.udp, Wild4)
	if err != nil {
		return err
	}
	for _, wild := range []Address{Wild4, Wild6} {
		if !b.host.has(wild) {
			continue
		}
		s, err := b.exclusive(b.udp, wild)
		if err != nil {
			b.drop(holder)
			return err
		}
		b.drop(s)
	}
	return nil
}

// exclusive binds a socket that shares its port with nobody.
func (b *bench) exclusive(udp bool, at Address) (socket, error) {
	s, err := b.add(udp, at)
	if err == nil {
		err = failed("setsockopt", s.keepToItself())
	}
	if err == nil {
		err = b.bind(s, at)
	}
	if err != nil {
		b.drop(s)
	}
	return s, err
}

// add makes a socket for an address. A TCP connection of it ends with a reset
// when it is closed, and leaves nothing.
func (b *bench) add(udp bool, at Address) (socket, error) {
	s, err := newSocket(udp, at.Is6())
	if err != nil {
		return s, failed("socket", err)
	}
	b.sockets = append(b.sockets, s)
	if !udp {
		err = failed("setsockopt", s.lingerFor(0))
	}
	if err == nil && (at == Wild6 || at == WildDual) {
		err = failed("setsockopt", s.only6(at == Wild6))
	}
	return s, err
}

// unbound returns a socket with the options, for an address. The socket is there
// even if they cannot be set.
func (b *bench) unbound(at Address, options Options) (socket, error) {
	s, err := b.add(b.udp, at)
	for _, o := range []Options{Addr, Port} {
		if err == nil && options&o != 0 {
			err = failed("setsockopt", s.set(o))
		}
	}
	return s, err
}

// bind binds a socket to the address and the bench's number.
func (b *bench) bind(s socket, at Address) error {
	return failed("bind", s.bind(netip.AddrPortFrom(b.host.addrs[at], b.number)))
}

// bound returns a socket with the options, bound to the address. The socket is
// there even if that failed.
func (b *bench) bound(at Address, options Options) (socket, error) {
	s, err := b.unbound(at, options)
	if err == nil {
		err = b.bind(s, at)
	}
	return s, err
}

// listening returns a bound socket that listens.
func (b *bench) listening(at Address, options Options) (socket, error) {
	s, err := b.bound(at, options)
	if err == nil {
		err = failed("listen", s.listen(backlog))
	}
	return s, err
}

// backlog is how many connections may wait to be accepted.
const backlog = 128

// connect connects a socket, and waits until that has ended.
func (b *bench) connect(s socket, to netip.AddrPort) error {
	if err := s.connect(to); err != nil {
		return failed("connect", err)
	}
	return failed("connect", ended(s, patience))
}

// ended waits for the end of a connect.
func ended(s socket, limit time.Duration) error {
	ready, err := s.wait(output, limit)
	if err != nil {
		return err
	}
	if !ready {
		return errTimeout
	}
	return s.failure()
}

// far opens a listener, which nobody tries anything with, and returns its
// address: on loopback for wildcards and groups. In the case of UDP there need
// not be a listener.
func (b *bench) far(of Address) (socket, netip.AddrPort, error) {
	at := of.reachable()
	s, err := b.add(b.udp, at)
	if err == nil {
		err = failed("bind", s.bind(netip.AddrPortFrom(b.host.addrs[at], 0)))
	}
	if err == nil && !b.udp {
		err = failed("listen", s.listen(backlog))
	}
	if err != nil {
		return s, netip.AddrPort{}, fmt.Errorf("a listener to connect to at %v: %w", b.host.addrs[at], err)
	}
	to, err := s.local()
	return s, to, failed("getsockname", err)
}

// reachable returns the address itself, or that of loopback for wildcards and
// groups.
func (a Address) reachable() Address {
	switch a {
	case Wild4, Group4:
		return Loop4
	case Wild6, WildDual, Group6:
		return Loop6
	}
	return a
}

// errnoOf returns what a system call answered.
func errnoOf(err error) error {
	var f *failure
	if errors.As(err, &f) {
		return f.err
	}
	return err
}

// word returns the errno's name, or "" for none.
func word(err error) string {
	if err == nil {
		return ""
	}
	return errnoName(errnoOf(err))
}
