package main

import (
	"context"
	"errors"
	"io"
	"net"
	"time"
)

// restartMoment is what a peer's connections are like when it dies.
type restartMoment struct {
	name string
	// path and server are the states of its connections.
	path, server tcpState
	unsent       uint64 // bytes on the way to the peer, at least
	// reach brings them there; undo takes back what hinders others. nil does
	// nothing.
	reach, undo func(context.Context, *restarts, *restartNode) error
	// early has undo called when the successor has just been started, and not
	// when it is registered.
	early bool
}

// restartMoments are all that a peer can leave, but for TIME_WAIT, which has
// claims of its own.
var restartMoments = []restartMoment{
	{name: "all is well", path: tcpEstablished, server: tcpEstablished},
	{name: "much is on the way", path: tcpEstablished, server: tcpEstablished, unsent: 1,
		reach: flood},
	{name: "the peer stands still", path: tcpEstablished, server: tcpEstablished,
		reach: freezePeer, undo: thawPeer},
	{name: "the peer stands still, the way to it is full", path: tcpEstablished, server: tcpEstablished, unsent: 16 << 10,
		reach: floodPeer, undo: thawPeer},
	{name: "the server stands still", path: tcpEstablished, server: tcpEstablished,
		reach: freezeServer, undo: thawServer, early: true},
	{name: "the peer has died", path: tcpCloseWait, server: tcpEstablished,
		reach: losePeer, undo: renewPeer},
	{name: "the server has died, and is back", path: tcpEstablished, server: tcpCloseWait,
		reach: loseServer},
}

func freezePeer(_ context.Context, w *restarts, n *restartNode) error {
	return stopProcess(w.other(n).cmd.Process)
}

func thawPeer(_ context.Context, w *restarts, n *restartNode) error {
	return continueProcess(w.other(n).cmd.Process)
}

// floodPeer is flood, before the other one stops.
func floodPeer(ctx context.Context, w *restarts, n *restartNode) error {
	if err := flood(ctx, w, n); err != nil {
		return err
	}
	return freezePeer(ctx, w, n)
}

// flood has both peers send as much as they can.
func flood(ctx context.Context, w *restarts, _ *restartNode) error {
	c, err := w.forward(ctx, "flood")
	if err != nil {
		return err
	}
	if _, err := io.CopyN(io.Discard, c, floodBegins); err != nil {
		c.Close()
		return err
	}
	go func() { // until a peer dies
		defer c.Close()
		serveFlood(c)
	}()
	return nil
}

// floodBegins is when both directions are under way.
const floodBegins = 1 << 20

func freezeServer(_ context.Context, w *restarts, _ *restartNode) error {
	return stopProcess(w.serves.Process)
}

// thawServer lets the successor's SYN come first.
func thawServer(_ context.Context, w *restarts, _ *restartNode) error {
	time.Sleep(experimentPause) // this is the experiment, not a wait for something
	return continueProcess(w.serves.Process)
}

// experimentPause is more than two round trips.
const experimentPause = 100 * time.Millisecond

// losePeer ends the other peer, which the victim must not notice. Bytes that are on
// their way come first: who dies with some unread resets the connection.
func losePeer(_ context.Context, w *restarts, n *restartNode) error {
	if err := stopProcess(n.cmd.Process); err != nil {
		return err
	}
	time.Sleep(experimentPause)
	return kill(w.other(n).cmd)
}

func renewPeer(ctx context.Context, w *restarts, n *restartNode) error {
	return w.start(ctx, w.other(n))
}

// loseServer ends the server, which the victim must not notice, and starts it
// again.
func loseServer(ctx context.Context, w *restarts, n *restartNode) error {
	if err := errors.Join(stopProcess(n.cmd.Process), kill(w.serves)); err != nil {
		return err
	}
	return w.serve(context.WithoutCancel(ctx))
}

// busy has streams open between the peers: a live one, and one of which each end
// has ended its half.
func (w *restarts) busy(ctx context.Context) (rest func(), err error) {
	var conns []net.Conn
	rest = func() {
		for _, c := range conns {
			c.Close()
		}
	}
	for _, name := range []string{"echo", "echo", "half"} {
		c, err := w.forward(ctx, name)
		if err != nil {
			return rest, err
		}
		conns = append(conns, c)
		if err := w.occupy(c, name, len(conns) == 1); err != nil {
			return rest, err
		}
	}
	return rest, nil
}

func (w *restarts) occupy(c *net.TCPConn, name string, live bool) error {
	switch {
	case name == "half":
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			return errors.Join(errors.New("a stream has not ended by half"), err)
		}
		return nil
	case !live:
		if err := echoByte(c); err != nil {
			return err
		}
		return c.CloseWrite()
	}
	if err := echoByte(c); err != nil {
		return err
	}
	go func() { // until the peer dies
		for echoByte(c) == nil {
		}
	}()
	return nil
}
