package peer

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/peerd/peerd/peer/tunnel"
	"github.com/peerd/peerd/proto"
)

// targetDialLimit bounds the connection to an exposed target.
const targetDialLimit = 10 * time.Second

// answer gives a peer's stream what it wants. What this node has not asked for
// itself, the peer must be authorised for: one that this node has called need not
// be.
func (s *Session) answer(in *Stream) {
	if want, ok := in.Request().(*proto.Listen); ok {
		s.listenFor(in, want)
	} else if l := s.remote(in.Target()); l != nil {
		l.deliver(s, in)
	} else {
		s.open(in)
	}
}

// open opens a target for a peer.
func (s *Session) open(in *Stream) {
	n, id := s.node, s.peer
	grants := n.grants(id)
	opens := func(g Grant) bool { return g.opens(in.Target()) }
	service, addr := n.service(in.Target()), n.cfg.Expose[in.Target()]
	switch {
	case len(grants) == 0:
		n.cfg.Logger.Info("refused a peer that is not allowed", "peer", id, "target", in.Target())
		in.Refuse(proto.CodeNotAuthorised, "")
	case !slices.ContainsFunc(grants, opens), service == nil && addr == "":
		n.cfg.Logger.Info("refused a target", "peer", id, "target", in.Target())
		in.Refuse(proto.CodeNotExposed, "")
	case service != nil:
		service.deliver(s, in)
	default:
		s.expose(in, addr)
	}
}

// expose joins a stream to the address of its target.
func (s *Session) expose(in *Stream, addr string) {
	n, id := s.node, s.peer
	target, err := n.dialTarget(addr)
	if err != nil {
		n.cfg.Logger.Warn("exposed target not reached", "peer", id, "target", in.Target(), "err", err)
		in.Refuse(proto.CodeDialFailed, cause(err).Error())
		return
	}
	defer target.Close()
	if err := in.Confirm(); err != nil {
		in.Abort()
		return
	}
	err = s.join(in, tunnel.NewSocket(target))
	n.cfg.Logger.Debug("stream ended", "peer", id, "target", in.Target(), "err", err)
}

// join joins the two until both have ended, or the session has: a target that
// has ended its half of a stream may never say anything again.
func (s *Session) join(in *Stream, target tunnel.Socket) error {
	joined := make(chan struct{})
	defer close(joined)
	s.node.tasks.Go(func() {
		select {
		case <-s.mux.Done():
			target.Abort()
		case <-joined:
		}
	})
	return tunnel.Join(in, target)
}

const unixPrefix = "unix:"

// cutUnix returns the path of a unix socket's address.
func cutUnix(addr string) (path string, is bool) { return strings.CutPrefix(addr, unixPrefix) }

func (n *Node) dialTarget(addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(n.ctx, targetDialLimit)
	defer cancel()
	var d net.Dialer
	network := "tcp"
	if path, is := cutUnix(addr); is {
		network, addr = "unix", path
	}
	conn, err := d.DialContext(ctx, network, addr)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, errors.New("no answer")
	}
	return conn, err
}
