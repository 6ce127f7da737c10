package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch/natlab"
)

// restarts is a world in which the peers are started again on their ports:
// `peerd run` on B, and on A `peerd connect` with forwards to it.
type restarts struct {
	*world
	run, connect *restartNode
	targets      []net.Listener
}

// restartNode is a peer that can be started again as it was.
type restartNode struct {
	name       string
	host       *natlab.Host
	port       uint16
	state      string
	args       []string
	registered string // what it says once it is
	cmd        *natlab.Cmd
	said       *sayings
}

// restartTargets are what run exposes, with what serves it, and where connect
// listens for it.
var restartTargets = []struct {
	name, at, forward string
	serve             func(*net.TCPConn)
}{
	{"echo", "127.0.0.1:9001", "127.0.0.1:7001", serveEcho},
	{"half", "127.0.0.1:9002", "127.0.0.1:7002", serveHalf},
	{"flood", "127.0.0.1:9003", "127.0.0.1:7003", serveFlood},
}

// serveHalf ends its half at once and keeps the other open.
func serveHalf(c *net.TCPConn) {
	c.CloseWrite()
	io.Copy(io.Discard, struct{ io.Reader }{c})
}

// serveFlood writes and reads as much as it can.
func serveFlood(c *net.TCPConn) {
	go io.Copy(io.Discard, struct{ io.Reader }{c}) // until the connection ends
	io.Copy(c, struct{ io.Reader }{randomStream(5)})
}

// newRestarts starts a server and both peers.
func newRestarts(ctx context.Context, g ground, c cell) (w *restarts, err error) {
	w = &restarts{}
	if w.world, err = newServedWorld(ctx, g.peerd, g.dir, c); err != nil {
		return nil, err
	}
	if err := w.settle(ctx); err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *restarts) close() {
	w.lab.Close()
	for _, l := range w.targets {
		l.Close()
	}
}

func (w *restarts) settle(ctx context.Context) error {
	if err := w.introduce(ctx); err != nil {
		return err
	}
	for _, t := range restartTargets {
		l, err := w.lab.B.Listen(t.at)
		if err != nil {
			return err
		}
		w.targets = append(w.targets, l)
		go accepting(t.serve)(l) // until close
		w.run.args = append(w.run.args, "--expose", t.name+"="+t.at)
		w.connect.args = append(w.connect.args, "-L", t.forward+":"+t.name)
	}
	for _, n := range []*restartNode{w.run, w.connect} {
		if err := errors.Join(w.start(ctx, n), n.awaitRegistered(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// introduce makes both identities and the beginnings of the command lines.
func (w *restarts) introduce(ctx context.Context) error {
	a, err := w.id(ctx, w.lab.A, "a")
	if err != nil {
		return err
	}
	b, err := w.id(ctx, w.lab.B, "b")
	if err != nil {
		return err
	}
	w.run = &restartNode{name: "run", host: w.lab.B, port: 41000, state: "b", registered: b, args: []string{"run", "--allow", a}}
	w.connect = &restartNode{name: "connect", host: w.lab.A, port: 42000, state: "a", registered: "asking ", args: []string{"connect", b}}
	for _, n := range []*restartNode{w.run, w.connect} {
		n.args = append(n.args, "--local-port", strconv.Itoa(int(n.port)))
	}
	return nil
}

// start starts a peer. It lives on when ctx ends.
func (w *restarts) start(ctx context.Context, n *restartNode) error {
	n.cmd, n.said = w.command(context.WithoutCancel(ctx), n.host, n.state, n.args...), newSayings()
	n.cmd.Stdout, n.cmd.Stderr = n.said, n.said
	if err := n.cmd.Start(); err != nil {
		return err
	}
	cmd, said := n.cmd, n.said
	go func() { // until the process ends
		cmd.Wait()
		said.end()
	}()
	return nil
}

func (n *restartNode) awaitRegistered(ctx context.Context) error {
	err := n.said.await(ctx, func(text string) bool { return strings.Contains(text, n.registered) })
	if err != nil {
		return fmt.Errorf("peerd %s is not registered: %w", n.name, err)
	}
	return nil
}

// endpoint is where the server and the peers of a peer see it: its NAT leaves the port
// as it is.
func (n *restartNode) endpoint() netip.AddrPort {
	return netip.AddrPortFrom(n.host.PublicAddr(), n.port)
}

// registry is where the server is registered with.
func (w *restarts) registry() netip.AddrPort {
	return netip.AddrPortFrom(w.lab.Server.Addr(), proto.DefaultPort)
}

// other is the peer of a peer.
func (w *restarts) other(n *restartNode) *restartNode {
	if n == w.run {
		return w.connect
	}
	return w.run
}

// socketTo returns the socket on the peer's port to an endpoint; ok is false if there
// is none. To the server's other ports there may be some: who is idle measures what
// its NATs do.
func (n *restartNode) socketTo(to netip.AddrPort) (s tcpSocket, ok bool, err error) {
	table, err := tcpTable(n.host)
	for _, s := range table {
		if s.local.Port() == n.port && s.remote == to {
			return s, true, nil
		}
	}
	return s, false, err
}

// awaitSocket waits until the socket to an address is as it should be. Instead of
// in CLOSE_WAIT it may be gone: who dies with bytes unread, or is sent some more,
// resets the connection.
func (n *restartNode) awaitSocket(ctx context.Context, to netip.AddrPort, state tcpState, unsent uint64) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		s, ok, err := n.socketTo(to)
		if err != nil || ok && s.state == state && s.unsent >= unsent || !ok && state == tcpCloseWait {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the connection of %s to %v is not %v with %d bytes on the way, but %+v: %w", n.name, to, state, unsent, s, ctx.Err())
		}
	}
}

// forward dials the forward to a target.
func (w *restarts) forward(ctx context.Context, name string) (*net.TCPConn, error) {
	for _, t := range restartTargets {
		if t.name == name {
			c, err := dialUntil(ctx, route{dial: func(ctx context.Context, _ string) (net.Conn, error) { return w.lab.A.Dial(ctx, t.forward) }}, "")
			if err != nil {
				return nil, err
			}
			return c.(*net.TCPConn), nil
		}
	}
	return nil, fmt.Errorf("no target is called %q", name)
}

// awaitEcho tries until a new connection is echoed: what is made while neither
// peer knows that the session is dead is reset.
func (w *restarts) awaitEcho(ctx context.Context) error {
	for {
		c, err := w.forward(ctx, "echo")
		if err == nil {
			err = echoByte(c)
			c.Close()
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func echoByte(c net.Conn) error {
	if _, err := c.Write([]byte{'!'}); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}
