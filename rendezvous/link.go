package rendezvous

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/peerd/peerd/proto"
)

const (
	// attemptTimeout is for connecting, the TLS handshake and the answer to the
	// registration.
	attemptTimeout = 15 * time.Second
	// The client pings after a random time between the two, so that it is
	// never silent for proto.KeepaliveMax and the pings of many clients do not
	// fall together.
	pingAfterMin = 30 * time.Second
	pingAfterMax = 55 * time.Second
	// A server that has not answered a ping after pongChecks times
	// pongInterval is given up. The time is counted in steps so that a process
	// that was stopped meanwhile loses one step of it and not all.
	pongInterval = 3 * time.Second
	pongChecks   = 5
	// maxClientQueue bounds what waits for the server to read.
	maxClientQueue = 1024
	// maxConsents bounds the offers to which the client has consented and for
	// which it accepts an introduction.
	maxConsents = 256
)

// errSilent means that the server did not answer a ping.
var errSilent = errors.New("the server does not answer")

// link is one registered connection of a client.
type link struct {
	c          *Client
	conn       *tls.Conn
	out        *outbox
	registered *proto.Registered
	answersFor []proto.ID // as registered first
	pong       atomic.Uint64
	lost       chan error    // capacity 1: why reading ended
	over       chan struct{} // closed when the link is of no use any more
	wg         sync.WaitGroup

	backs map[uint32]chan proto.NATAnswer // dial-backs asked for; guarded by Client.mu

	waiting atomic.Int32 // answers, until what they report is fresh

	// Owned by the reader.
	consents consents
}

// connect connects to the server and registers.
func (c *Client) connect(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()
	raw, err := c.cfg.Dial(ctx)
	if err != nil {
		return nil, err
	}
	l, err := c.enrol(ctx, raw)
	if err != nil {
		raw.Close()
		return nil, err
	}
	return l, nil
}

// enrol does the handshake and registers.
func (c *Client) enrol(ctx context.Context, raw net.Conn) (*link, error) {
	conn := tls.Client(&wire{Conn: raw}, c.cfg.Key.ClientConfig(proto.ALPNServer, c.cfg.Server.Key))
	interrupted := context.AfterFunc(ctx, func() { raw.Close() })
	reg := c.register()
	registered, err := enrol(conn, reg)
	if !interrupted() {
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	l := &link{c: c, conn: conn, registered: registered, answersFor: reg.AnswersFor, lost: make(chan error, 1),
		over: make(chan struct{}), backs: make(map[uint32]chan proto.NATAnswer)}
	l.out = &outbox{conn: conn, raw: raw, max: maxClientQueue, wg: &l.wg}
	return l, nil
}

func enrol(conn *tls.Conn, reg *proto.Register) (*proto.Registered, error) {
	if err := conn.Handshake(); err != nil {
		return nil, err
	}
	if err := proto.Write(conn, reg); err != nil {
		return nil, err
	}
	msg, err := proto.Read(conn)
	if err != nil {
		return nil, err
	}
	switch msg := msg.(type) {
	case *proto.Registered:
		return msg, nil
	case *proto.Failure:
		return nil, &FailureError{Code: msg.Code, Text: msg.Text}
	}
	return nil, misplaced(msg.Type())
}

// run uses the registration until it is lost or ctx ends. It owns the link's
// goroutines.
func (l *link) run(ctx context.Context) error {
	l.c.log.Debug("registered", "server", l.c.cfg.Server.HostPort(), "observed", l.registered.Observed.Addr)
	l.c.dialsBackOn(l)
	l.c.tell(State{
		Registered: true,
		Observed:   l.registered.Observed.Addr,
		Local:      addrPort(l.conn.LocalAddr()),
		Probing:    probingOf(l.registered),
	})
	now := l.c.candidatesNow()
	l.wg.Go(l.read)
	l.c.publish(l, now)
	err := l.keepAlive(ctx)
	l.c.withdrawLink()
	close(l.over)
	l.out.close(nil)
	l.wg.Wait()
	return err
}

// keepAlive pings the server until it is silent, the reader fails or ctx ends.
func (l *link) keepAlive(ctx context.Context) error {
	var k keepalive
	t := time.NewTimer(k.idle())
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-l.lost:
			return err
		case <-t.C:
		}
		ping, wait := k.tick(l.pong.Load())
		if wait == 0 {
			return errSilent
		}
		if ping != 0 {
			l.out.send(&proto.Ping{N: ping})
		}
		t.Reset(wait)
	}
}

// keepalive decides when to ping and when to give up. The zero value is that of
// a connection that was just made.
type keepalive struct {
	last   uint64 // number of the latest ping
	checks int    // since it was sent; 0 when no pong is due
}

func (k *keepalive) idle() time.Duration {
	return pingAfterMin + rand.N(pingAfterMax-pingAfterMin)
}

// tick is called when the time it returned is over, with the number of the
// latest pong. It returns the ping to send, or 0 for none, and when to call it
// again; 0 means that the server is silent.
func (k *keepalive) tick(pong uint64) (ping uint64, wait time.Duration) {
	switch {
	case k.checks == 0:
		k.last++
		k.checks = 1
		return k.last, pongInterval
	case pong == k.last:
		k.checks = 0
		return 0, k.idle()
	case k.checks == pongChecks:
		return 0, 0
	}
	k.checks++
	return 0, pongInterval
}

// read handles what the server sends. If the server breaks the protocol it is
// told so before the connection ends.
func (l *link) read() {
	err := l.receive()
	if f := failure(err); f != nil {
		l.out.last(f)
		io.Copy(io.Discard, l.conn)
	}
	l.out.close(nil)
	l.lost <- l.out.reason(err)
}

func (l *link) receive() error {
	for {
		t, payload, err := proto.ReadFrame(l.conn)
		if err != nil {
			return err
		}
		received := time.Now()
		msg, err := proto.Parse(t, payload)
		if err != nil {
			return err
		}
		if err := l.handle(msg, received); err != nil {
			return err
		}
	}
}

// handle acts on one message. The error wraps proto.ErrMalformed if the server
// may not send it, and is a *FailureError if it is the server's last.
func (l *link) handle(msg proto.Message, received time.Time) error {
	switch msg := msg.(type) {
	case nil: // of an unknown type that may be ignored
	case *proto.Registered: // confirms SetAnswersFor
	case *proto.Offer:
		l.offered(msg)
	case *proto.Introduction:
		return l.introduced(msg, received)
	case *proto.Declined:
		return l.declined(msg)
	case *proto.DialedBack:
		l.dialledBack(msg)
	case *proto.Ping:
		l.out.send(&proto.Pong{N: msg.N})
	case *proto.Pong:
		l.pong.Store(msg.N)
	case *proto.Failure:
		return &FailureError{Code: msg.Code, Text: msg.Text}
	default:
		return misplaced(msg.Type())
	}
	return nil
}

// offered answers an offer.
func (l *link) offered(o *proto.Offer) {
	answer := &proto.Answer{Introduction: o.Introduction, PortMode: l.c.cfg.PortMode, NoGuess: l.c.cfg.NoGuess}
	if offer := l.c.cfg.Offer; offer != nil {
		answer.Candidates, answer.Code = offer(o.Initiator)
		answer.Accept = answer.Code == proto.CodeOK
	}
	if !answer.Accept {
		l.answer(answer)
		return
	}
	l.consents.add(o.Introduction, o.Initiator)
	if refresh := l.c.cfg.Refresh; refresh != nil && l.waiting.Load() < maxWaiting {
		if fresh := refresh(); fresh != nil {
			l.waiting.Add(1)
			l.wg.Go(func() { l.answerThen(fresh, answer) })
			return
		}
	}
	l.answerReporting(answer)
}

const (
	// freshLimit bounds how long an answer waits for what it is to report.
	freshLimit = time.Second
	// maxWaiting bounds the answers that wait; what the server offers beyond that is
	// answered at once.
	maxWaiting = 16
)

// answerThen answers when what it is to report is fresh.
func (l *link) answerThen(fresh <-chan struct{}, answer *proto.Answer) {
	defer l.waiting.Add(-1)
	late := time.NewTimer(freshLimit)
	defer late.Stop()
	select {
	case <-fresh:
	case <-late.C:
	case <-l.over:
		return
	}
	l.answerReporting(answer)
}

// answerReporting sends a consent with what is known of this node's NATs.
func (l *link) answerReporting(answer *proto.Answer) {
	answer.NAT = l.c.report()
	l.answer(answer)
}

func (l *link) answer(answer *proto.Answer) {
	if _, err := proto.Append(nil, answer); err != nil {
		l.c.log.Error("own statements are not valid", "error", err)
		answer = &proto.Answer{Introduction: answer.Introduction}
	}
	l.out.send(answer)
}

// introduced takes an introduction after it has checked that it is this
// client's, and one to which it agreed.
func (l *link) introduced(m *proto.Introduction, received time.Time) error {
	t, err := proto.ParseTranscript(m.Transcript)
	if err != nil {
		return err
	}
	role, ok := t.RoleOf(l.c.cfg.Key.ID(), l.c.cfg.Instance)
	if !ok || t.PlanVersion > proto.PlanVersion {
		return lie("introduction of others, or with plan version %d", t.PlanVersion)
	}
	in := Introduction{Transcript: t, Role: role, Secret: m.Secret, Received: received}
	peer := t.Party(role.Peer()).ID
	if m.Request != 0 {
		return l.granted(m.Request, peer, in)
	}
	if role != proto.Responder || !l.consents.take(t.Introduction, peer) {
		return lie("introduction to %s without consent", peer.Short())
	}
	if l.c.cfg.Introduced != nil {
		l.c.cfg.Introduced(in)
	}
	return nil
}

// granted hands an introduction to who asked for it.
func (l *link) granted(request uint32, peer proto.ID, in Introduction) error {
	r, ok := l.c.pending(request)
	switch {
	case !ok:
		return lie("answer to request %d", request)
	case r == nil:
		l.c.log.Debug("introduction after its caller gave up", "peer", peer.Short())
	case r.message.Peer != peer:
		return lie("introduction to %s instead of %s", peer.Short(), r.message.Peer.Short())
	default:
		r.resolve(result{introduction: in})
	}
	return nil
}

func (l *link) declined(m *proto.Declined) error {
	r, ok := l.c.pending(m.Request)
	switch {
	case !ok:
		return lie("answer to request %d", m.Request)
	case r != nil:
		r.resolve(result{err: &DeclinedError{Peer: r.message.Peer, Code: m.Code}})
	}
	return nil
}

// lie is the error for a message that is well-formed and not true.
func lie(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{proto.ErrMalformed}, args...)...)
}

// consents remembers the latest offers to which the client has consented. The
// zero value is empty.
type consents struct {
	peers map[proto.Token]proto.ID
	order []proto.Token // may name some that were taken
}

func (c *consents) add(introduction proto.Token, peer proto.ID) {
	if c.peers == nil {
		c.peers = make(map[proto.Token]proto.ID)
	}
	if len(c.order) == maxConsents {
		delete(c.peers, c.order[0])
		c.order = append(c.order[:0], c.order[1:]...)
	}
	c.peers[introduction] = peer
	c.order = append(c.order, introduction)
}

// take reports whether the client consented to meet peer, and forgets it.
func (c *consents) take(introduction proto.Token, peer proto.ID) bool {
	if c.peers[introduction] != peer || peer.IsZero() {
		return false
	}
	delete(c.peers, introduction)
	return true
}
