package peer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"

	"github.com/peerd/peerd/peer/stream"
	"github.com/peerd/peerd/peer/tunnel"
	"github.com/peerd/peerd/proto"
)

// maxRemotes bounds the listeners that one peer may have at this node.
const maxRemotes = 64

// Listen has the peer listen at an address of its own, as ssh -R does: PORT or
// HOST:PORT, where port 0 leaves the choice to it and no HOST means its loopback,
// or unix:/path. The peer must permit that by the Listen of its Grant for this
// node. Connections come from Accept as *Streams, whose remote address is the
// peer's, not that of who connected there; Addr is where the peer listens.
//
// The listener lives until its Close or the session's end, which Accept's error
// then tells: it wraps net.ErrClosed, or ErrAborted if the peer or the session
// has ended it. Streams that were accepted outlive its Close. The context covers
// the call only. The error wraps a *RefusedError if the peer does not listen.
func (s *Session) Listen(ctx context.Context, bind string) (net.Listener, error) {
	reply := proto.NewToken().String()
	in, err := s.mux.OpenListen(ctx, bind, reply)
	if err != nil {
		return nil, s.listenError(bind, err)
	}
	// The peer may bring connections before we have read where it listens.
	l := newListener(nil, func() {
		s.forgetRemote(reply)
		in.Close()
	})
	if !s.keepRemote(reply, l) {
		in.Abort()
		return nil, ErrClosed
	}
	interrupted := context.AfterFunc(ctx, in.Abort)
	err = in.Opened()
	if !interrupted() {
		err = ctx.Err()
	}
	if err != nil {
		l.end(err)
		return nil, s.listenError(bind, err)
	}
	l.addr = remoteAddr(in.Bound())
	if !s.node.spawn(func() { l.end(endOf(in)) }) {
		l.end(ErrClosed)
		return nil, ErrClosed
	}
	return l, nil
}

func (s *Session) listenError(bind string, err error) error {
	return fmt.Errorf("listening at %s of peer %s: %w", bind, s.peer, inOurWords(err))
}

// endOf waits for the end of a stream on which nothing is said, and returns why
// it ended.
func endOf(in *Stream) error {
	if _, err := io.Copy(io.Discard, in); err != nil {
		return err
	}
	return fmt.Errorf("%w: the peer has closed it", ErrAborted)
}

// remoteAddr is an address of a peer's host.
type remoteAddr string

const unixPrefix = "unix:"

// Network says what kind of address it is.
func (a remoteAddr) Network() string {
	if strings.HasPrefix(string(a), unixPrefix) {
		return "unix"
	}
	return "tcp"
}

// String returns the address as the peer states it.
func (a remoteAddr) String() string { return string(a) }

// keepRemote makes a listener known, unless the node is closing.
func (s *Session) keepRemote(reply string, l *listener) bool {
	s.node.mu.Lock()
	defer s.node.mu.Unlock()
	if !s.node.closing {
		s.remotes[reply] = l
	}
	return !s.node.closing
}

func (s *Session) forgetRemote(reply string) {
	s.node.mu.Lock()
	defer s.node.mu.Unlock()
	delete(s.remotes, reply)
}

// remote returns this node's listener at the peer by the target that the peer
// opens for it, or nil.
func (s *Session) remote(reply string) *listener {
	s.node.mu.Lock()
	defer s.node.mu.Unlock()
	return s.remotes[reply]
}

// listenFor listens for the peer, until the peer or this node ends that.
func (s *Session) listenFor(in *Stream, want *proto.Listen) {
	log := s.node.cfg.Logger.With("peer", s.peer, "listen", want.Bind)
	l, code, err := s.bind(want.Bind)
	if err != nil {
		s.refuse(in, code, err)
		return
	}
	defer s.releaseRemote()
	bound := boundAt(l.Addr())
	if err := in.ConfirmListening(bound); err != nil {
		in.Abort()
		l.Close()
		return
	}
	log.Info("listening for a peer", "addr", bound)
	ctx, end := context.WithCancelCause(s.node.active)
	s.node.tasks.Go(func() { end(endOf(in)) })
	entry := tunnel.Entry{Log: log, Handle: func(_ context.Context, conn net.Conn) {
		if s.mayListen(want.Bind) {
			s.node.tasks.Go(func() { s.bring(conn, want.Reply) }) // it outlives the listener
			return
		}
		tunnel.NewSocket(conn).Abort()
		end(ErrNotAuthorised)
	}}
	err = entry.Serve(ctx, l)
	in.Close() // ends endOf, if nothing else has
	log.Info("no longer listening for a peer", "addr", bound, "err", err)
}

var errTooManyRemotes = errors.New("this node listens for the peer in too many places")

// bind listens at an address if that is permitted. The caller releases the
// peer's place if there is no error.
func (s *Session) bind(address string) (net.Listener, proto.Code, error) {
	if !s.takeRemote() {
		return nil, proto.CodeBusy, errTooManyRemotes
	}
	l, err := s.listenPermitted(address)
	if err == nil {
		return l, proto.CodeOK, nil
	}
	s.releaseRemote()
	if errors.Is(err, tunnel.ErrNotPermitted) {
		return nil, proto.CodeNotAuthorised, err
	}
	return nil, proto.CodeDialFailed, err
}

// listenPermitted listens if one of the peer's grants has the address.
func (s *Session) listenPermitted(address string) (net.Listener, error) {
	for _, g := range s.node.grants(s.peer) {
		l, err := tunnel.Listen(s.node.ctx, address, g.Listen)
		if !errors.Is(err, tunnel.ErrNotPermitted) {
			return l, err
		}
	}
	return nil, tunnel.ErrNotPermitted
}

// boundAt returns a listener's address in the form of Listen.Bind.
func boundAt(addr net.Addr) string {
	if addr.Network() == "unix" {
		return unixPrefix + addr.String()
	}
	return addr.String()
}

// mayListen reports whether the peer would still get what it has asked for.
func (s *Session) mayListen(bind string) bool {
	return slices.ContainsFunc(s.node.grants(s.peer), func(g Grant) bool { return tunnel.MayListen(bind, g.Listen) })
}

// bring joins a connection to a stream of the peer's. It does not wait for a
// stream to become free: more connections than that are reset.
func (s *Session) bring(conn net.Conn, reply string) {
	socket := tunnel.NewSocket(conn)
	if s.bringing.Add(1) > stream.MaxStreams {
		s.bringing.Add(-1)
		s.node.cfg.Logger.Warn("too many connections for a peer", "peer", s.peer, "from", conn.RemoteAddr())
		socket.Abort()
		return
	}
	defer s.bringing.Add(-1)
	out, err := s.mux.Open(s.node.ctx, reply)
	if err != nil {
		socket.Abort()
		return
	}
	err = tunnel.Join(out, socket)
	s.node.cfg.Logger.Debug("connection for a peer ended", "peer", s.peer, "err", err)
}

// takeRemote takes one of the listeners that the peer may have.
func (s *Session) takeRemote() bool {
	n := s.node
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.remotes[s.peer] >= maxRemotes {
		return false
	}
	n.remotes[s.peer]++
	return true
}

func (s *Session) releaseRemote() {
	n := s.node
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.remotes[s.peer]--; n.remotes[s.peer] == 0 {
		delete(n.remotes, s.peer)
	}
}
