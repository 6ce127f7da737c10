package peer

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/peerd/peerd/peer/tunnel"
	"github.com/peerd/peerd/proto"
)

// targetDialLimit bounds the connection to an exposed target.
const targetDialLimit = 10 * time.Second

// answer joins a peer's stream to the target that it wants, if that is exposed.
func (n *Node) answer(id proto.ID, in *Stream) {
	addr, ok := n.cfg.Expose[in.Target()]
	if !ok {
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
	err = tunnel.Join(in, tunnel.TCP{Conn: target})
	n.cfg.Logger.Debug("stream ended", "peer", id, "target", in.Target(), "err", err)
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
