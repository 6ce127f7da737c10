package peer

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch/nat"
	"github.com/peerd/peerd/punch/reuse"
	"github.com/peerd/peerd/rendezvous"
)

// natNet is what package nat measures with: the node's port and fresh ones, and
// the server's help.
type natNet struct {
	node  *Node
	token []byte // of the registration
}

// maxHops is how far away a node's own NATs are looked for.
const maxHops = 6

// Look implements nat.Net.
func (w natNet) Look(ctx context.Context, ownPort bool, to []netip.AddrPort, seen func(nat.Sight)) []nat.Sight {
	sights := make([]nat.Sight, len(to))
	conns := make([]net.Conn, len(to))
	var tasks sync.WaitGroup
	for i, at := range to {
		d, began := reuse.BeginFresh, time.Now()
		if ownPort {
			d = func(to netip.AddrPort) *reuse.Dial { return w.node.port.Begin(to, 0, time.Time{}) }
		}
		dial := d(at)
		look := func() {
			conns[i], sights[i] = see(ctx, dial, at, began, nil)
			seen(sights[i])
		}
		if reuse.InOrder {
			tasks.Go(look)
		} else {
			look()
		}
	}
	tasks.Wait()
	for _, conn := range conns {
		abort(conn)
	}
	return sights
}

// see completes a dial and asks the other end from where it sees the connection.
func see(ctx context.Context, d *reuse.Dial, to netip.AddrPort, began time.Time, token []byte) (net.Conn, nat.Sight) {
	s := nat.Sight{To: to, At: began}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	conn, err := d.Wait(ctx)
	if err != nil {
		return nil, s
	}
	s.RTT = time.Since(began)
	outside, err := rendezvous.BindingAs(ctx, conn, token)
	if err != nil {
		abort(conn)
		return nil, s
	}
	s.Inside, s.Outside = endpoint(conn.LocalAddr()), outside
	return conn, s
}

// lookTimeout bounds one connection to a server. A SYN that is lost is repeated
// after a second; what is measured then is worth no more.
const lookTimeout = 2 * time.Second

// endpoint returns a TCP address in the form that servers state it.
func endpoint(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

// abort closes a connection, if there is one, so that nothing of it is left.
func abort(conn net.Conn) {
	if conn == nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}

// DialBack implements nat.Net.
func (w natNet) DialBack(ctx context.Context, from proto.DialBackFrom, to netip.AddrPort) proto.NATAnswer {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	answer, err := w.node.client.DialBack(ctx, from, to)
	if err != nil {
		return proto.AnswerUnknown
	}
	return answer
}

// Hops implements nat.Net.
func (w natNet) Hops(ctx context.Context, to netip.AddrPort) []netip.Addr {
	return reuse.Hops(ctx, to, maxHops)
}

// Bench implements nat.Net.
func (w natNet) Bench(ctx context.Context, to netip.AddrPort) (nat.Bench, error) {
	if w.node.mode != reuse.Shared {
		return nil, errors.ErrUnsupported
	}
	p, err := reuse.Claim(0, reuse.Shared)
	if err != nil {
		return nil, err
	}
	b := &bench{port: p}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	for _, l := range p.Listeners() {
		b.tasks.Go(func() { hold(l) })
	}
	began := time.Now()
	if b.conn, b.sight = see(ctx, p.Begin(to, 0, time.Time{}), to, began, w.token); b.conn == nil {
		b.Close()
		return nil, nat.ErrNoServer
	}
	return b, nil
}

// bench implements nat.Bench.
type bench struct {
	port   *reuse.Port
	conn   net.Conn
	sight  nat.Sight
	ctx    context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup
}

// maxHeld bounds the connections that a bench holds.
const maxHeld = 16

// hold accepts connections until the listener fails, and then resets them: a RST
// that comes before the other end has noticed its connection would look like a
// refusal.
func hold(l net.Listener) {
	for held := 0; ; held++ {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		if held < maxHeld {
			defer abort(conn)
		} else {
			abort(conn)
		}
	}
}

// Sight implements nat.Bench.
func (b *bench) Sight() nat.Sight { return b.sight }

// Dial implements nat.Bench.
func (b *bench) Dial(to netip.AddrPort) func(context.Context) proto.NATAnswer {
	ctx, cancel := context.WithCancel(b.ctx)
	result := make(chan proto.NATAnswer, 1)
	d := b.port.Begin(to, 0, time.Time{})
	b.tasks.Go(func() {
		conn, err := d.Wait(ctx)
		result <- met(err)
		if err == nil { // see hold
			<-b.ctx.Done()
			abort(conn)
		}
	})
	return func(until context.Context) proto.NATAnswer {
		defer cancel()
		select {
		case answer := <-result:
			return answer
		case <-until.Done():
			cancel()
			return <-result
		}
	}
}

// met says what a dial's SYN has met.
func met(err error) proto.NATAnswer {
	switch {
	case err == nil, reuse.IsAnswered(err):
		return proto.AnswerAccepted
	case reuse.IsUnreachable(err):
		return proto.AnswerUnreachable
	case reuse.IsRefused(err):
		return proto.AnswerReset
	case errors.Is(err, context.Canceled), reuse.IsNoAnswer(err):
		return proto.AnswerDropped
	}
	return proto.AnswerUnknown
}

// Close implements nat.Bench.
func (b *bench) Close() {
	b.cancel()
	abort(b.conn)
	b.port.Close()
	b.tasks.Wait()
}
