package reuse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"
)

// Port is a claimed local port. It is safe for concurrent use.
type Port struct {
	number    uint16
	mode      Mode
	listeners []net.Listener
	held      []io.Closer // sockets that keep the port from others; see hold
	lock      io.Closer
}

// ClashError says that a port is not free.
type ClashError struct {
	Port uint16
	Err  error // the operating system's answer
}

// Error says what to do about the clash.
func (e *ClashError) Error() string {
	cause := e.Err
	var call *os.SyscallError
	if errors.As(cause, &call) {
		cause = call.Err
	}
	return fmt.Sprintf("local port %d is in use by another program (%v): stop that program or choose another port", e.Port, cause)
}

// Unwrap returns the operating system's answer.
func (e *ClashError) Unwrap() error { return e.Err }

// freeTries is how many ports the system may propose that turn out to be in
// use by somebody, before Claim gives up.
const freeTries = 16

// Claim claims a port for IPv4 and IPv6, as far as the host has them, and in
// Shared mode listens on it. Number 0 lets the system choose. If the port is not
// free, the error is a *ClashError; Claim never takes another port instead.
//
// In DialOnly mode a socket that is bound and does not listen holds the port,
// where our own dials pass it. In Sequential mode nothing does: another program
// may take the port whenever none of our sockets is on it, and the next dial
// then fails with an error that IsTupleInUse.
func Claim(number uint16, mode Mode) (*Port, error) {
	if mode < Shared || mode > Sequential {
		return nil, fmt.Errorf("a local port has no %v", mode)
	}
	if number != 0 {
		return claim(number, mode)
	}
	return claimAny(mode)
}

// claimAny claims a port that the system proposes.
func claimAny(mode Mode) (p *Port, err error) {
	for range freeTries {
		var number uint16
		if number, err = freePort(); err != nil {
			return nil, err
		}
		if p, err = claim(number, mode); err == nil {
			return p, nil
		}
	}
	return nil, err
}

// freePort asks the system for a port that nobody uses.
func freePort() (uint16, error) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		return 0, fmt.Errorf("no free local port: %w", err)
	}
	defer l.Close()
	return uint16(l.Addr().(*net.TCPAddr).Port), nil
}

func claim(number uint16, mode Mode) (*Port, error) {
	lock, err := local.lock(number)
	if err != nil {
		return nil, &ClashError{number, err}
	}
	p := &Port{number: number, mode: mode, lock: lock}
	if err := p.occupy(); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

// networks are the address families, by package net's names.
var networks = []string{"tcp4", "tcp6"}

// occupy takes the port as its mode has it, after making sure that it is free.
// That comes first in both address families: a system may let neither be alone
// beside the other.
func (p *Port) occupy() error {
	if err := p.inEach(p.beAlone); err != nil {
		return err
	}
	return p.inEach(p.take)
}

// inEach does something in every address family. The host may lack one of them,
// or a policy forbid it.
func (p *Port) inEach(do func(network string) error) error {
	var missing []error
	for _, network := range networks {
		err := do(network)
		if isAny(err, local.portInUse) {
			return &ClashError{p.number, reason(err)}
		}
		if err != nil {
			missing = append(missing, err)
		}
		if isAny(err, local.exhausted) || len(missing) == len(networks) {
			return fmt.Errorf("taking local port %d: %w", p.number, missing[0])
		}
	}
	return nil
}

// beAlone listens without sharing the port, which fails if any program listens
// on it or holds it for itself, though not for connections that are in
// TIME_WAIT or half closed.
func (p *Port) beAlone(network string) error {
	l, err := p.open(network, local.exclusive)
	if err != nil {
		return err
	}
	return l.Close()
}

// take takes the port for good.
func (p *Port) take(network string) error {
	switch p.mode {
	case Shared:
		return p.listen(network)
	case DialOnly:
		return p.hold(network)
	default:
		return nil // nothing holds it
	}
}

func (p *Port) listen(network string) error {
	l, err := p.open(network, listening)
	if err == nil {
		p.listeners = append(p.listeners, l)
	}
	return err
}

// What is set on the sockets of a port.
var (
	listening = local.share.and(local.listen)
	dialling  = local.share.and(local.dial)
)

func (p *Port) open(network string, set options) (net.Listener, error) {
	lc := net.ListenConfig{Control: set.control, KeepAlive: -1}
	lc.SetMultipathTCP(false)
	return lc.Listen(context.Background(), network, ":"+strconv.Itoa(int(p.number)))
}

// Number returns the port number.
func (p *Port) Number() uint16 { return p.number }

// Mode returns the mode that the port was claimed in.
func (p *Port) Mode() Mode { return p.mode }

// Listeners returns the listeners, one per address family of the host in Shared
// mode, and none in the others. Close closes them.
func (p *Port) Listeners() []net.Listener { return p.listeners }

// Dial connects to an address from the port; see Begin and Dial.Wait.
func (p *Port) Dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	return p.Begin(to, 0, time.Time{}).Wait(ctx)
}

// Close closes the listeners and gives the port up. Connections stay.
func (p *Port) Close() error {
	var errs []error
	for _, l := range p.listeners {
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	for _, h := range append(p.held, p.lock) {
		errs = append(errs, h.Close())
	}
	return errors.Join(errs...)
}
