package rendezvous

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"github.com/peerd/peerd/proto"
)

// dialBacks are the SYNs that the server sends to clients which ask for them, to
// find out what their NATs do. A SYN goes only to an endpoint of a connection
// that the asking client has at that moment: its registration, or a STUN
// connection on which it has shown its token. See docs/adr/014-dial-back.md.
//
// It is safe for concurrent use.
type dialBacks struct {
	cfg      *ServerConfig
	dial     func(ctx context.Context, from, to netip.AddrPort, wait time.Duration) proto.NATAnswer
	rates    *buckets[proto.ID]
	sources  *buckets[netip.Prefix]
	underWay *gate

	mu     sync.Mutex
	owners map[proto.Token]*member
}

const (
	// maxShown bounds the STUN connections of one client that may be dialled back.
	maxShown = 16
	// maxDialBacks bounds the dial-backs under way, a quarter of them to one source
	// address.
	maxDialBacks = 64
	// dialBackPatience is how long a SYN's answer may take beyond the round trip.
	dialBackPatience = 300 * time.Millisecond
	// dialBackLimit ends a dial-back before the system would repeat the SYN.
	dialBackLimit = 900 * time.Millisecond
)

func newDialBacks(cfg *ServerConfig) *dialBacks {
	return &dialBacks{
		cfg:      cfg,
		dial:     dialOnce,
		rates:    newBuckets[proto.ID](cfg.dialBackRate(), cfg.dialBackBurst()),
		sources:  newBuckets[netip.Prefix](idsPerSource*cfg.dialBackRate(), idsPerSource*cfg.dialBackBurst()),
		underWay: newGate(maxDialBacks),
		owners:   make(map[proto.Token]*member),
	}
}

// announce completes what a client is told when it registers.
func (c *ServerConfig) announce(m *member) *proto.Registered {
	r := &proto.Registered{Observed: m.observed, ProbePorts: c.ProbePorts}
	if c.Alternate.IsValid() {
		r.Alternate = c.Alternate.AsSlice()
	}
	if c.Origins != nil {
		r.ProbeToken = m.token[:]
		r.SilentPort, r.ClosedPort = c.Origins.silent, c.Origins.closed
	}
	return r
}

// enter lets a client's token be shown, until leave.
func (d *dialBacks) enter(m *member) {
	if d.cfg.Origins == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.owners[m.token] = m
}

func (d *dialBacks) leave(m *member) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.owners, m.token)
}

// show notes that a STUN connection is that of a client, until conceal.
func (d *dialBacks) show(in *inbound, token []byte) {
	if len(token) != len(proto.Token{}) {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	m := d.owners[proto.Token(token)]
	if m == nil || in.owner != nil || len(m.shown) >= maxShown {
		return
	}
	if m.shown == nil {
		m.shown = make(map[netip.AddrPort]netip.AddrPort)
	}
	in.owner = m
	m.shown[in.from] = addrPort(in.raw.LocalAddr())
}

// conceal ends what show began, when the connection ends.
func (d *dialBacks) conceal(in *inbound) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if in.owner != nil {
		delete(in.owner.shown, in.from)
	}
}

// here returns the server's own end of a client's connection that is open now and
// comes from the given endpoint.
func (d *dialBacks) here(m *member, from netip.AddrPort) (netip.AddrPort, bool) {
	if from == m.observed.Addr {
		return m.here, true
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	here, ok := m.shown[from]
	return here, ok
}

// origin returns where a dial-back comes from, given the server's end of the
// connection that shows its target; false if there is no such place.
func (c *ServerConfig) origin(from proto.DialBackFrom, here netip.Addr) (netip.AddrPort, bool) {
	switch from {
	case proto.FromOtherPort:
		return netip.AddrPortFrom(here, 0), true
	case proto.FromAlternate:
		return netip.AddrPortFrom(c.Alternate, 0), c.Alternate.IsValid()
	case proto.FromSilent:
		return netip.AddrPortFrom(here, c.Origins.silent), c.Origins.silent != 0
	case proto.FromClosed:
		return netip.AddrPortFrom(here, c.Origins.closed), c.Origins.closed != 0
	}
	return netip.AddrPort{}, false
}

// judge returns the origin of a dial-back that the rules allow. The caller then
// has to leave d.underWay.
func (d *dialBacks) judge(m *member, q *proto.DialBack, now time.Time) (origin netip.AddrPort, ok bool) {
	if d.cfg.Origins == nil {
		return origin, false
	}
	to := q.To.Addr
	here, ok := d.here(m, to)
	if !ok {
		return origin, false
	}
	origin, ok = d.cfg.origin(q.From, here.Addr())
	if !ok || origin.Addr().Is4() != to.Addr().Is4() {
		return origin, false
	}
	return origin, d.rates.allow(m.id, now) && d.sources.allow(m.source, now) && d.underWay.enter(m.source)
}

// dialBack answers a request, and dials before that if the rules allow it.
func (s *Server) dialBack(m *member, q *proto.DialBack, now time.Time) {
	wait, near := dialBackWait(s.registry.roundTrip(m))
	origin, ok := s.backs.judge(m, q, now)
	if !ok {
		s.log.Debug("not dialled back: a limit, or no such endpoint", "peer", m.id.Short(), "from", q.From, "to", q.To.Addr)
		m.out.send(&proto.DialedBack{Request: q.Request})
		return
	}
	s.wg.Go(func() {
		defer s.backs.underWay.leave(m.source)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		s.wg.Go(func() {
			select {
			case <-s.done:
				cancel()
			case <-ctx.Done():
			}
		})
		answer := s.backs.dial(ctx, origin, q.To.Addr, wait)
		if answer == proto.AnswerDropped && !near {
			answer = proto.AnswerUnknown // it may come yet
		}
		s.log.Debug("dialled back", "peer", m.id.Short(), "from", origin, "to", q.To.Addr, "answer", answer, "near", near)
		m.out.send(&proto.DialedBack{Request: q.Request, Answer: answer})
	})
}

// dialBackWait is for how long the answer to a SYN is awaited. Where a client is not
// near, the answer may take longer than until the SYN would be repeated.
func dialBackWait(roundTrip time.Duration) (wait time.Duration, near bool) {
	if roundTrip == 0 {
		return dialBackLimit, true
	}
	wait = roundTrip + dialBackPatience
	return min(wait, dialBackLimit), wait <= dialBackLimit
}
