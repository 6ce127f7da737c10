package reuse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"syscall"
)

// Port is a claimed local port. It is safe for concurrent use.
type Port struct {
	number    uint16
	listeners []net.Listener
	lock      io.Closer
}

// ClashError says that a port is not free.
type ClashError struct {
	Port uint16
	Err  error // the operating system's answer
}

// Error says what to do about the clash.
func (e *ClashError) Error() string {
	return fmt.Sprintf("local port %d is in use by another program (%v): stop that program or choose another port", e.Port, e.Err)
}

// Unwrap returns the operating system's answer.
func (e *ClashError) Unwrap() error { return e.Err }

// freeTries is how many ports the system may propose that turn out to be in
// use by somebody, before Claim gives up.
const freeTries = 16

// Claim claims a port for IPv4 and, where the host has it, IPv6, and listens on
// it. Number 0 lets the system choose. If the port is not free, the error is a
// *ClashError; Claim never takes another port instead.
func Claim(number uint16) (*Port, error) {
	if number != 0 {
		return claim(number)
	}
	var err error
	for range freeTries {
		if number, err = freePort(); err != nil {
			return nil, err
		}
		var p *Port
		if p, err = claim(number); err == nil {
			return p, nil
		}
	}
	return nil, err
}

// freePort asks the system for a port that nobody uses.
func freePort() (uint16, error) {
	l, err := net.Listen("tcp4", ":0")
	if err != nil {
		return 0, fmt.Errorf("no free local port: %w", err)
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port), nil
}

func claim(number uint16) (*Port, error) {
	lock, err := lockPort(number)
	if err != nil {
		return nil, &ClashError{number, err}
	}
	p := &Port{number: number, lock: lock}
	if err := p.listen(); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// listen opens the listeners: IPv4 must work, IPv6 may be missing.
func (p *Port) listen() error {
	for _, network := range []string{"tcp4", "tcp6"} {
		l, err := p.listenOn(network)
		if err != nil && (network == "tcp4" || isInUse(err)) {
			return p.explain(err)
		}
		if err == nil {
			p.listeners = append(p.listeners, l)
		}
	}
	return nil
}

// listenOn first listens without sharing the port, which fails if any program
// listens on it or holds it for itself, though not for connections that are in
// TIME_WAIT or half closed. Only then it listens for good.
func (p *Port) listenOn(network string) (net.Listener, error) {
	exclusive, err := p.open(network, exclusiveOptions)
	if err != nil {
		return nil, err
	}
	exclusive.Close()
	return p.open(network, listenOptions)
}

func (p *Port) open(network string, options func(fd uintptr) error) (net.Listener, error) {
	lc := net.ListenConfig{Control: control(options), KeepAlive: -1}
	lc.SetMultipathTCP(false)
	return lc.Listen(context.Background(), network, ":"+strconv.Itoa(int(p.number)))
}

func (p *Port) explain(err error) error {
	if isInUse(err) {
		return &ClashError{p.number, cause(err)}
	}
	return fmt.Errorf("listening on local port %d: %w", p.number, err)
}

// cause returns the operating system's error without the address that the
// message around it names already.
func cause(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return errno
	}
	return err
}

// Number returns the port number.
func (p *Port) Number() uint16 { return p.number }

// Listeners returns the listeners, one per address family of the host. Close
// closes them.
func (p *Port) Listeners() []net.Listener { return p.listeners }

// Dial connects to an address from the port; see Begin and Dial.Wait.
func (p *Port) Dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return p.Begin(to, 0).Wait(ctx)
}

// Close closes the listeners and gives the port up. Connections stay.
func (p *Port) Close() error {
	var errs []error
	for _, l := range p.listeners {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, p.lock.Close())...)
}

// control makes a function on a descriptor what package net calls before bind.
func control(set func(fd uintptr) error) func(string, string, syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		if cerr := c.Control(func(fd uintptr) { err = set(fd) }); cerr != nil {
			return cerr
		}
		return err
	}
}
