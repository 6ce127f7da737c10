package peer

import (
	"context"
	"errors"
	"net"
	"slices"
	"time"

	"github.com/peerd/peerd/peer/tunnel"
	"github.com/peerd/peerd/proto"
)

// targetDialLimit bounds the connection to an exposed target.
const targetDialLimit = 10 * time.Second

// answer joins a peer's stream to the target that it wants, if that is exposed
// and the peer is allowed: one that this node has called need not be.
func (s *Session) answer(in *Stream) {
	n, id := s.node, s.peer
	addr, ok := n.cfg.Expose[in.Target()]
	switch {
	case !slices.Contains(n.cfg.Allow, id):
		n.cfg.Logger.Info("refused a peer that is not allowed", "peer", id, "target", in.Target())
		in.Refuse(proto.CodeNotAuthorised, "")
		return
	case !ok:
		n.cfg.Logger.Info("refused a target", "peer", id, "target", in.Target())
		in.Refuse(proto.CodeNotExposed, "")
		return
	}
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
	err = s.join(in, tunnel.TCP{Conn: target})
	n.cfg.Logger.Debug("stream ended", "peer", id, "target", in.Target(), "err", err)
}

// join joins the two until both have ended, or the session has: a target that
// has ended its half of a stream may never say anything again.
func (s *Session) join(in *Stream, target tunnel.TCP) error {
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

func (n *Node) dialTarget(addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(n.ctx, targetDialLimit)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr)
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, errors.New("no answer")
	}
	return conn, err
}
