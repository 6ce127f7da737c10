package peer

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/peerd/peerd/peer/tunnel"
	"github.com/peerd/peerd/proto"
)

// targetDialLimit bounds the connection to a target.
const targetDialLimit = 10 * time.Second

// answer gives a peer's stream what it wants. What this node has not asked for
// itself, the peer must be authorised for: one that this node has called need not
// be.
func (s *Session) answer(in *Stream) {
	if s.node.isClosing() {
		s.refuse(in, proto.CodeShutdown, ErrClosed)
	} else if want, ok := in.Request().(*proto.Listen); ok {
		s.listenFor(in, want)
	} else if l := s.remote(in.Target()); l != nil {
		l.deliver(s, in)
	} else {
		s.open(in)
	}
}

// open opens a target for a peer.
func (s *Session) open(in *Stream) {
	grants := s.node.grants(s.peer)
	if len(grants) == 0 {
		s.refuse(in, proto.CodeNotAuthorised, ErrNotAuthorised)
		return
	}
	if l := s.node.service(in.Target()); l == nil {
		s.expose(in, grants)
	} else if slices.ContainsFunc(grants, func(g Grant) bool { return g.serves(in.Target()) }) {
		l.deliver(s, in)
	} else {
		s.refuse(in, proto.CodeNotExposed, tunnel.ErrNotPermitted)
	}
}

// expose joins a stream to its target, if one of the grants has that.
func (s *Session) expose(in *Stream, grants []Grant) {
	target, err := s.node.dialTarget(in.Target(), grants)
	switch {
	case errors.Is(err, tunnel.ErrNotPermitted):
		s.refuse(in, proto.CodeNotExposed, err)
		return
	case tunnel.IsUnreachable(err):
		s.refuse(in, proto.CodeUnreachable, cause(err))
		return
	case err != nil:
		s.refuse(in, proto.CodeDialFailed, cause(err))
		return
	}
	if err := in.Confirm(); err != nil {
		in.Abort()
		target.Abort()
		return
	}
	err = tunnel.Join(in, target)
	s.node.cfg.Logger.Debug("stream ended", "peer", s.peer, "target", in.Target(), "err", err)
}

// refuse tells a peer why it does not get what it asks for. Only a reason that is
// not policy is put in words.
func (s *Session) refuse(in *Stream, code proto.Code, reason error) {
	var text string
	if code == proto.CodeDialFailed || code == proto.CodeUnreachable || code == proto.CodeBusy {
		text = reason.Error()
	}
	s.node.cfg.Logger.Info("refused a peer", "peer", s.peer, "target", in.Target(), "code", code, "reason", reason)
	in.Refuse(code, text)
}

// dialTarget connects to a target, which one of the grants must permit.
func (n *Node) dialTarget(target string, grants []Grant) (tunnel.End, error) {
	ctx, cancel := context.WithTimeout(n.ctx, targetDialLimit)
	defer cancel()
	for _, g := range grants {
		exit := tunnel.Exit{Names: n.cfg.Expose, Permit: g.Open}
		end, err := exit.Dial(ctx, target)
		if !errors.Is(err, tunnel.ErrNotPermitted) {
			return end, err
		}
	}
	return nil, tunnel.ErrNotPermitted
}
