package rendezvous

import (
	"context"
	"net/netip"

	"github.com/peerd/peerd/proto"
)

// Probing is what a server offers for finding out what NATs do, as it was said
// when the client registered.
type Probing struct {
	// Ports are further ports of the server that answer STUN.
	Ports []uint16
	// Alternate is another address of the server at which they answer as well; the
	// zero Addr if there is none.
	Alternate netip.Addr
	// Token is to be shown by BindingAs on connections to which the server may dial
	// back; nil if it does not dial back.
	Token []byte
	// Silent is a port of the server that answers no SYN, and Closed one that
	// answers with a RST; 0 if there is none.
	Silent, Closed uint16
}

func probingOf(r *proto.Registered) Probing {
	return Probing{Ports: r.ProbePorts, Alternate: r.AlternateAddr(), Token: r.ProbeToken, Silent: r.SilentPort, Closed: r.ClosedPort}
}

// DialBack has the server send one SYN to an endpoint of this client's, and
// returns what it met: proto.AnswerUnknown if the server sent none. The endpoint
// must be that of the registration, State.Observed, or that of a connection on
// which BindingAs has shown the token and which is still open. The error is that
// of ctx, or ErrNotRegistered if the registration is lost meanwhile.
//
// A server that does not know the request never answers, so it is made only where
// Probing.Token is set.
func (c *Client) DialBack(ctx context.Context, from proto.DialBackFrom, to netip.AddrPort) (proto.NATAnswer, error) {
	n, l, result := c.askDialBack(from, to)
	if l == nil {
		return proto.AnswerUnknown, ErrNotRegistered
	}
	defer c.forgetDialBack(l, n)
	select {
	case answer := <-result:
		return answer, nil
	case <-l.over:
		return proto.AnswerUnknown, ErrNotRegistered
	case <-ctx.Done():
		return proto.AnswerUnknown, ctx.Err()
	}
}

// askDialBack sends a request; there is no link if it cannot.
func (c *Client) askDialBack(from proto.DialBackFrom, to netip.AddrPort) (n uint32, l *link, result chan proto.NATAnswer) {
	q := &proto.DialBack{From: from, To: proto.NewCandidate(to, proto.Observed, 0)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if l = c.backs; l == nil || len(l.registered.ProbeToken) == 0 {
		return 0, nil, nil
	}
	c.issuedBacks = max(c.issuedBacks+1, 1)
	q.Request = c.issuedBacks
	if q.Check() != nil {
		return 0, nil, nil
	}
	result = make(chan proto.NATAnswer, 1)
	l.backs[q.Request] = result
	l.out.send(q)
	return q.Request, l, result
}

// dialsBackOn makes a new link the one on which dial-backs are asked for.
func (c *Client) dialsBackOn(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.backs = l
}

func (c *Client) forgetDialBack(l *link, n uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(l.backs, n)
}

// dialledBack hands an outcome to who asked for it; one that nobody waits for any
// more is dropped.
func (l *link) dialledBack(m *proto.DialedBack) {
	l.c.mu.Lock()
	defer l.c.mu.Unlock()
	if result := l.backs[m.Request]; result != nil {
		delete(l.backs, m.Request)
		result <- m.Answer
	}
}
