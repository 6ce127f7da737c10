package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/peer/tunnel"
	"github.com/peerd/peerd/proto"
)

// connection is a running connect: it owns the goroutines that serve forwards.
type connection struct {
	program *program
	name    string // PEER as the user calls it
	log     *slog.Logger
	link    *link
	remote  []tunnel.Forward

	fail  context.CancelCauseFunc // ends the command
	tasks sync.WaitGroup

	mu        sync.Mutex
	complaint string // the last one
	at        time.Time
}

// run connects, and serves the forwards until something ends that: a signal, the
// end of standard input and output, or an error.
func (c *connection) run(ctx context.Context, cfg peer.Config, g *progress, timeout time.Duration, id proto.ID, f forwards) error {
	entries, err := openEntries(ctx, f)
	defer closeEntries(entries)
	if err != nil {
		return err
	}
	connecting, cancel := g.limit(ctx, timeout)
	defer cancel()
	l, s, err := startLink(ctx, connecting, cfg, g, id, timeout)
	if l.node != nil {
		defer l.node.Close()
	}
	if err != nil {
		return err
	}
	ctx, c.fail = context.WithCancelCause(ctx)
	defer c.tasks.Wait()
	defer c.fail(nil)
	c.link, c.remote = l, f.remote
	if err := c.begin(ctx, connecting, s, entries); err != nil {
		return err
	}
	if f.stdio == "" {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	return c.exchange(ctx, connecting, f.stdio)
}

// begin sets the forwards up and tells of them.
func (c *connection) begin(ctx, connecting context.Context, s *peer.Session, entries []entry) error {
	c.announce(connecting, s)
	var listeners []net.Listener
	for _, fwd := range c.remote {
		l, err := c.listenAtPeer(connecting, s, fwd)
		if err != nil {
			return interrupted(connecting, err)
		}
		listeners = append(listeners, l)
	}
	for _, e := range entries {
		handle, target := c.forwardTo(e.forward.Target), e.forward.Target
		if target == "" {
			handle, target = c.proxy, "socks5"
		}
		c.tasks.Go(func() { c.fail(tunnel.Entry{Handle: handle, Log: c.log}.Serve(ctx, e.Listener)) })
		c.program.notice(fmt.Sprintf("forward %s -> %s %s", boundAt(e.Addr()), c.name, target))
	}
	c.tasks.Go(func() { c.keep(ctx, s, listeners) })
	return nil
}

// exchange serves standard input and output.
func (c *connection) exchange(ctx, connecting context.Context, target string) error {
	s, err := c.link.open(ctx, target)
	if err != nil {
		return err
	}
	return newExchange(s, c.program.stdin, c.program.stdout).run(ctx, connecting)
}

// boundAt is where a listener listens.
func boundAt(addr net.Addr) string {
	if addr.Network() == "unix" {
		return "unix:" + addr.String()
	}
	return addr.String()
}

// rttLimit bounds the measurement of a new path's round trip.
const rttLimit = 5 * time.Second

// announce tells of a new path.
func (c *connection) announce(ctx context.Context, s *peer.Session) {
	path := s.Path()
	if path.RTT == 0 {
		ctx, cancel := context.WithTimeout(ctx, rttLimit)
		defer cancel()
		path.RTT, _ = s.Ping(ctx) // the session's end will say what failed
	}
	c.program.notice(fmt.Sprintf("path %s %s %s", path.Kind, path.Remote, milliseconds(path.RTT)))
}

// milliseconds rounds a round trip to a millisecond, and one that is shorter than
// that to a tenth: 31ms, 0.3ms.
func milliseconds(d time.Duration) string {
	if tenths := d.Round(100 * time.Microsecond); tenths < time.Millisecond {
		return fmt.Sprintf("%.1fms", float64(tenths.Microseconds())/1000)
	}
	return fmt.Sprintf("%dms", d.Round(time.Millisecond).Milliseconds())
}

// keep connects again whenever the connection is lost. What listens at the peer
// begins anew with each session.
func (c *connection) keep(ctx context.Context, s *peer.Session, listeners []net.Listener) {
	for {
		during := c.during(ctx, s)
		for i, fwd := range c.remote {
			var l net.Listener
			if listeners != nil {
				l = listeners[i]
			}
			c.tasks.Go(func() { c.keepRemote(during, s, fwd, l) })
		}
		<-during.Done()
		if ctx.Err() != nil {
			return
		}
		c.log.Warn("connection lost, connecting again", "peer", s.Peer(), "err", s.Err())
		var err error
		if s, err = c.link.reconnect(ctx); err != nil {
			c.fail(err)
			return
		}
		c.announce(ctx, s)
		listeners = nil
	}
}

// during returns a context that ends with a session.
func (c *connection) during(ctx context.Context, s *peer.Session) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	c.tasks.Go(func() {
		defer cancel()
		select {
		case <-s.Done():
		case <-ctx.Done():
		}
	})
	return ctx
}

// remoteError says that the peer does not listen for a remote forward.
type remoteError struct {
	bind    string
	refusal *peer.RefusedError
}

// Error implements error.
func (e *remoteError) Error() string {
	return fmt.Sprintf("not listening at %s: %v", e.bind, e.refusal)
}

// listenAtPeer has the peer listen for a remote forward, and tells of it.
func (c *connection) listenAtPeer(ctx context.Context, s *peer.Session, fwd tunnel.Forward) (net.Listener, error) {
	l, err := s.Listen(ctx, fwd.Listen.String())
	var refusal *peer.RefusedError
	switch {
	case errors.As(err, &refusal):
		return nil, &remoteError{fwd.Listen.String(), refusal}
	case err != nil:
		return nil, err
	}
	c.program.notice(fmt.Sprintf("forward %s %s -> %s", c.name, l.Addr(), fwd.Target))
	return l, nil
}

// keepRemote serves a remote forward as long as its session lives. Should the
// peer stop listening, or not listen yet because it still does so for the
// session before, it is asked again.
func (c *connection) keepRemote(ctx context.Context, s *peer.Session, fwd tunnel.Forward, l net.Listener) {
	serve := tunnel.Entry{Handle: c.bring(fwd.Target), Log: c.log}
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		var err error
		if l == nil {
			l, err = c.listenAtPeer(ctx, s, fwd)
		}
		if l != nil {
			err = serve.Serve(ctx, l)
			l, pause = nil, firstRetry
		}
		if ctx.Err() != nil {
			return
		}
		if sleep(ctx, pause) != nil {
			return // perhaps the session had ended, which the listener heard of first
		}
		c.log.Warn("the peer does not listen, asking again", "peer", s.Peer(), "listen", fwd.Listen, "err", err)
	}
}

// forwardTo serves the connections of a local forward.
func (c *connection) forwardTo(target string) func(context.Context, net.Conn) {
	return func(ctx context.Context, conn net.Conn) {
		app := tunnel.NewSocket(conn)
		s, err := c.link.open(ctx, target)
		if err != nil {
			app.Abort()
			c.complain(target, err)
			return
		}
		stop := context.AfterFunc(ctx, func() { app.Abort(); s.Abort() })
		defer stop()
		c.ended(target, tunnel.Join(app, s))
	}
}

// proxy serves the connections of a dynamic forward.
func (c *connection) proxy(ctx context.Context, conn net.Conn) {
	socks := tunnel.SOCKS{Reply: socksReply, Dial: func(ctx context.Context, target string) (tunnel.End, error) {
		return c.link.dial(ctx, target)
	}}
	c.ended("socks5", socks.Serve(ctx, conn))
}

// bring serves the connections of a remote forward.
func (c *connection) bring(target string) func(context.Context, net.Conn) {
	return func(ctx context.Context, conn net.Conn) {
		in := conn.(*peer.Stream)
		dialling, cancel := context.WithTimeout(ctx, localDialLimit)
		app, err := tunnel.DialLocal(dialling, target)
		cancel()
		if err != nil {
			in.Abort()
			c.complain(target, fmt.Errorf("target %s here: %w", target, err))
			return
		}
		stop := context.AfterFunc(ctx, func() { app.Abort(); in.Abort() })
		defer stop()
		c.ended(target, tunnel.Join(in, app))
	}
}

// localDialLimit bounds the connection to the target of a remote forward.
const localDialLimit = 10 * time.Second

// ended logs how a connection has ended; a refusal is worth a complaint.
func (c *connection) ended(target string, err error) {
	var refused *peer.RefusedError
	if errors.As(err, &refused) {
		c.complain(target, err)
		return
	}
	c.log.Debug("connection ended", "target", target, "err", err)
}

// complaintEvery is how often the same complaint is made at most.
const complaintEvery = 10 * time.Second

// complain logs why a connection was not forwarded. A program that tries again
// and again gets one line now and then.
func (c *connection) complain(target string, err error) {
	_, text := c.program.names.judge(err)
	c.mu.Lock()
	defer c.mu.Unlock()
	level := slog.LevelWarn
	if text == c.complaint && time.Since(c.at) < complaintEvery {
		level = slog.LevelDebug
	} else {
		c.complaint, c.at = text, time.Now()
	}
	c.log.Log(context.Background(), level, "connection not forwarded", "target", target, "reason", text)
}

// socksReply says to a SOCKS client why there is no connection.
func socksReply(err error) tunnel.SOCKSReply {
	var refused *peer.RefusedError
	if !errors.As(err, &refused) {
		return tunnel.SOCKSFailed
	}
	switch refused.Code {
	case proto.CodeNotAuthorised, proto.CodeNotExposed:
		return tunnel.SOCKSNotAllowed
	case proto.CodeUnreachable:
		return tunnel.SOCKSHostUnreachable
	case proto.CodeDialFailed:
		return tunnel.SOCKSRefused
	}
	return tunnel.SOCKSFailed
}
