package rendezvous

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
)

// ledger is what a server has dialled back, instead of dialling.
type ledger struct {
	mu    sync.Mutex
	dials [][2]netip.AddrPort // from, to
	lasts time.Duration       // each of them
	most  int                 // at a time
	now   int
}

func (l *ledger) dial(ctx context.Context, from, to netip.AddrPort, wait time.Duration) proto.NATAnswer {
	l.mu.Lock()
	l.dials = append(l.dials, [2]netip.AddrPort{from, to})
	l.now++
	l.most = max(l.most, l.now)
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.now--
		l.mu.Unlock()
	}()
	select {
	case <-time.After(l.lasts):
		return proto.AnswerDropped
	case <-ctx.Done():
		return proto.AnswerUnknown
	}
}

func (l *ledger) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.dials)
}

// ledgered runs a server that writes its dial-backs down.
func ledgered(t *testing.T, cfg ServerConfig, f func(*testing.T, *world, *ledger)) {
	cfg.Origins = &Origins{silent: 40001, closed: 40002}
	virtually(t, cfg, func(t *testing.T, w *world) {
		l := new(ledger)
		w.server.backs.dial = l.dial
		f(t, w, l)
	})
}

// asks asks for a dial-back and returns the answer.
func (s *script) asks(from proto.DialBackFrom, to string) proto.NATAnswer {
	s.t.Helper()
	s.send(&proto.DialBack{Request: 9, From: from, To: proto.NewCandidate(netip.MustParseAddrPort(to), proto.Observed, 0)})
	d := next[*proto.DialedBack](s)
	if d.Request != 9 {
		s.t.Errorf("answer to %d", d.Request)
	}
	return d.Answer
}

// own is the endpoint of world's ordinary connections.
const own = "198.51.100.1:4000"

// from connects from another endpoint.
func (w *world) from(addr string) net.Conn {
	w.t.Helper()
	raw, err := w.v.dial(path{from: netip.MustParseAddrPort(addr)})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { raw.Close() })
	return raw
}

func TestDialBackOrigins(t *testing.T) {
	ledgered(t, ServerConfig{Alternate: netip.MustParseAddr("203.0.113.20")}, func(t *testing.T, w *world, l *ledger) {
		s := w.script()
		r := s.register(answersNo)
		if r.SilentPort != 40001 || r.ClosedPort != 40002 || r.AlternateAddr() != netip.MustParseAddr("203.0.113.20") || len(r.ProbeToken) != 16 {
			t.Errorf("told %+v", r)
		}
		for from, origin := range map[proto.DialBackFrom]string{
			proto.FromOtherPort: "203.0.113.7:0", proto.FromAlternate: "203.0.113.20:0",
			proto.FromSilent: "203.0.113.7:40001", proto.FromClosed: "203.0.113.7:40002",
		} {
			want := [2]netip.AddrPort{netip.MustParseAddrPort(origin), netip.MustParseAddrPort(own)}
			if answer := s.asks(from, own); answer != proto.AnswerDropped || l.dials[len(l.dials)-1] != want {
				t.Errorf("from %d: %v, dialled %v", from, answer, l.dials)
			}
		}
		if answer := s.asks(77, own); answer != proto.AnswerUnknown || l.count() != 4 {
			t.Errorf("from somewhere unknown: %v, dialled %v", answer, l.dials)
		}
	})
}

// A STUN connection may be dialled back by the client whose token it has shown,
// for as long as it is open.
func TestDialBackToSTUNConnections(t *testing.T) {
	const there = "198.51.100.9:7000"
	ledgered(t, ServerConfig{}, func(t *testing.T, w *world, l *ledger) {
		s := w.script()
		token := s.register(answersNo).ProbeToken
		conn := w.from(there)
		if answer := s.asks(proto.FromOtherPort, there); answer != proto.AnswerUnknown {
			t.Errorf("before there is a request: %v", answer)
		}
		if _, err := Binding(t.Context(), conn); err != nil {
			t.Fatal(err)
		}
		if answer := s.asks(proto.FromOtherPort, there); answer != proto.AnswerUnknown {
			t.Errorf("without the token: %v", answer)
		}
		if _, err := BindingAs(t.Context(), conn, token); err != nil {
			t.Fatal(err)
		}
		if answer := s.asks(proto.FromOtherPort, there); answer != proto.AnswerDropped || l.count() != 1 {
			t.Errorf("with the token: %v, %d dials", answer, l.count())
		}
		conn.Close()
		synctest.Wait()
		if answer := s.asks(proto.FromOtherPort, there); answer != proto.AnswerUnknown || l.count() != 1 {
			t.Errorf("after its end: %v, %d dials", answer, l.count())
		}
	})
}

// A hostile client can aim the server at nobody: not at other clients, their
// hosts or its own, nor at what it once had, nor with another's token.
func TestDialBackIsAimedAtNobodyElse(t *testing.T) {
	ledgered(t, ServerConfig{Alternate: netip.MustParseAddr("203.0.113.20")}, func(t *testing.T, w *world, l *ledger) {
		victim := w.scriptOn(w.from("192.0.2.1:5000"), identity.Generate())
		victimToken := victim.register(answersNo).ProbeToken
		victimSTUN := w.from("192.0.2.1:6000")
		if _, err := BindingAs(t.Context(), victimSTUN, victimToken); err != nil {
			t.Fatal(err)
		}
		hostile := w.script()
		token := hostile.register(answersNo).ProbeToken
		// It shows the victim's token on its own connections, and one that nobody has.
		for _, shown := range [][]byte{victimToken, make([]byte, 16), {1}, nil, make([]byte, 100)} {
			conn := w.from("198.51.100.1:4001")
			if _, err := BindingAs(t.Context(), conn, shown); err != nil {
				t.Fatal(err)
			}
			hostile.asks(proto.FromOtherPort, "198.51.100.1:4001")
			conn.Close()
			synctest.Wait()
		}
		for _, target := range []string{
			"192.0.2.1:5000", "192.0.2.1:6000", "192.0.2.1:22", "198.51.100.1:4001", "198.51.100.1:22", "203.0.113.7:7878",
			"127.0.0.1:7878", "224.0.0.1:4000", "[2001:db8::1]:4000",
		} {
			for _, from := range []proto.DialBackFrom{proto.FromOtherPort, proto.FromAlternate, proto.FromSilent, proto.FromClosed} {
				if answer := hostile.asks(from, target); answer != proto.AnswerUnknown {
					t.Errorf("%s: %v", target, answer)
				}
			}
		}
		// Somebody else's registration does not make a target of a connection that has
		// shown this one's token.
		mine := w.from("198.51.100.1:4002")
		if _, err := BindingAs(t.Context(), mine, token); err != nil {
			t.Fatal(err)
		}
		victim.asks(proto.FromOtherPort, "198.51.100.1:4002")
		if l.count() != 0 {
			t.Errorf("dialled %v", l.dials)
		}
	})
}

// A connection is that of the first token that it shows, and of none after its end.
func TestDialBackToOneOwner(t *testing.T) {
	const there = "198.51.100.9:7000"
	ledgered(t, ServerConfig{}, func(t *testing.T, w *world, l *ledger) {
		first, second := w.script(), w.script()
		conn := w.from(there)
		for _, s := range []*script{first, second} {
			if _, err := BindingAs(t.Context(), conn, s.register(answersNo).ProbeToken); err != nil {
				t.Fatal(err)
			}
		}
		if a, b := first.asks(proto.FromOtherPort, there), second.asks(proto.FromOtherPort, there); a != proto.AnswerDropped || b != proto.AnswerUnknown {
			t.Errorf("%v and %v", a, b)
		}
		conn.Close()
		synctest.Wait()
		if a, b := first.asks(proto.FromOtherPort, there), second.asks(proto.FromOtherPort, there); a != 0 || b != 0 || l.count() != 1 {
			t.Errorf("after its end: %v and %v, %d dials", a, b, l.count())
		}
	})
}

// A token ends with its registration.
func TestDialBackTokenEnds(t *testing.T) {
	ledgered(t, ServerConfig{}, func(t *testing.T, w *world, l *ledger) {
		s := w.script()
		token := s.register(answersNo).ProbeToken
		s.raw.Close()
		synctest.Wait()
		conn := w.from("198.51.100.9:7000")
		if _, err := BindingAs(t.Context(), conn, token); err != nil {
			t.Fatal(err)
		}
		if n := len(w.server.backs.owners); n != 0 {
			t.Errorf("%d tokens are left", n)
		}
	})
}

func TestDialBackRates(t *testing.T) {
	ledgered(t, ServerConfig{DialBackRate: 1, DialBackBurst: 3}, func(t *testing.T, w *world, l *ledger) {
		first := w.registered(answersNo)
		for range 10 {
			first.asks(proto.FromOtherPort, own)
		}
		if l.count() != 3 {
			t.Errorf("%d dials at once", l.count())
		}
		time.Sleep(2 * time.Second)
		for range 10 {
			first.asks(proto.FromOtherPort, own)
		}
		if l.count() != 5 {
			t.Errorf("%d dials in two seconds", l.count())
		}
		// All IDs of one address have a limit of their own: ten times as much.
		for range 40 {
			w.registered(answersNo).asks(proto.FromOtherPort, own)
			w.registered(answersNo).asks(proto.FromOtherPort, own)
		}
		if l.count() != 5+28 { // two of 30 went to the first one
			t.Errorf("%d dials for one address", l.count())
		}
	})
}

// No more than a part of all dial-backs is for one address at a time.
func TestDialBacksAtATime(t *testing.T) {
	ledgered(t, ServerConfig{DialBackRate: -1}, func(t *testing.T, w *world, l *ledger) {
		l.lasts = time.Second
		s := w.registered(answersNo)
		to := proto.NewCandidate(netip.MustParseAddrPort(own), proto.Observed, 0)
		for range 50 {
			s.send(&proto.DialBack{Request: 9, From: proto.FromOtherPort, To: to})
		}
		answers := map[proto.NATAnswer]int{}
		for range 50 {
			answers[next[*proto.DialedBack](s).Answer]++
		}
		if l.most != maxDialBacks/4 || answers[proto.AnswerDropped] != maxDialBacks/4 {
			t.Errorf("%d at a time, answers %v", l.most, answers)
		}
	})
}

// Close does not wait for answers.
func TestDialBackEndsWithTheServer(t *testing.T) {
	ledgered(t, ServerConfig{}, func(t *testing.T, w *world, l *ledger) {
		l.lasts = time.Hour
		s := w.registered(answersNo)
		s.send(&proto.DialBack{Request: 9, From: proto.FromOtherPort, To: proto.NewCandidate(netip.MustParseAddrPort(own), proto.Observed, 0)})
		synctest.Wait()
		began := time.Now()
		w.server.Close()
		if l.count() != 1 || time.Since(began) > time.Minute {
			t.Errorf("%d dials; closing took %v", l.count(), time.Since(began))
		}
	})
}

// A SYN is not repeated: its answer is not awaited for as long as a system takes
// to do that.
func TestDialBackWait(t *testing.T) {
	for _, c := range []struct {
		roundTrip, wait time.Duration
		near            bool
	}{
		{0, 900 * time.Millisecond, true},
		{20 * time.Millisecond, 320 * time.Millisecond, true},
		{600 * time.Millisecond, 900 * time.Millisecond, true},
		{601 * time.Millisecond, 900 * time.Millisecond, false},
	} {
		if wait, near := dialBackWait(c.roundTrip); wait != c.wait || near != c.near {
			t.Errorf("%v: %v, near %v", c.roundTrip, wait, near)
		}
	}
}

// Whether a SYN was dropped is not known of a client that is far away.
func TestDialBackFarAway(t *testing.T) {
	ledgered(t, ServerConfig{}, func(t *testing.T, w *world, l *ledger) {
		raw, err := w.v.dial(path{from: netip.MustParseAddrPort(own), latency: 400 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		s := w.scriptOn(raw, identity.Generate())
		s.register(answersNo)
		if answer := s.asks(proto.FromOtherPort, own); answer != proto.AnswerUnknown || l.count() != 1 {
			t.Errorf("%v, %d dials", answer, l.count())
		}
	})
}

// A server without origins announces nothing, and dials nobody.
func TestNoDialBack(t *testing.T) {
	virtually(t, ServerConfig{}, func(t *testing.T, w *world) {
		s := w.script()
		if r := s.register(answersNo); r.ProbeToken != nil || r.SilentPort != 0 || r.ClosedPort != 0 {
			t.Errorf("told %+v", r)
		}
		if answer := s.asks(proto.FromOtherPort, own); answer != proto.AnswerUnknown {
			t.Error(answer)
		}
		n := runNode(t, w.nodeConfig())
		n.await(t, true)
		if answer, err := n.DialBack(t.Context(), proto.FromOtherPort, netip.MustParseAddrPort(own)); answer != 0 || err != ErrNotRegistered {
			t.Errorf("%v, %v", answer, err)
		}
	})
}

func TestClientDialBack(t *testing.T) {
	ledgered(t, ServerConfig{}, func(t *testing.T, w *world, l *ledger) {
		n := runNode(t, w.nodeConfig())
		s := n.await(t, true)
		if s.Probing.Silent != 40001 || s.Probing.Closed != 40002 || len(s.Probing.Token) != 16 {
			t.Errorf("%+v", s.Probing)
		}
		if answer, err := n.DialBack(t.Context(), proto.FromSilent, s.Observed); answer != proto.AnswerDropped || err != nil {
			t.Errorf("%v, %v", answer, err)
		}
		if answer, err := n.DialBack(t.Context(), proto.FromSilent, netip.AddrPort{}); answer != 0 || err == nil {
			t.Errorf("to nowhere: %v, %v", answer, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		l.lasts = time.Hour
		if answer, err := n.DialBack(ctx, proto.FromSilent, s.Observed); answer != 0 || err != context.DeadlineExceeded {
			t.Errorf("%v, %v", answer, err)
		}
		done := make(chan error)
		go func() {
			_, err := n.DialBack(t.Context(), proto.FromSilent, s.Observed)
			done <- err
		}()
		synctest.Wait()
		n.stop()
		if err := <-done; err != ErrNotRegistered {
			t.Errorf("registration lost: %v", err)
		}
	})
}

// Who answers what was not asked changes nothing.
func TestUnaskedDialedBack(t *testing.T) {
	f := newFakeServer(t)
	cfg := f.nodeConfig()
	n := runNode(t, cfg)
	s := f.register()
	s.send(&proto.DialedBack{Request: 1, Answer: proto.AnswerAccepted})
	s.send(&proto.DialedBack{Request: 1, Answer: proto.AnswerAccepted})
	s.send(&proto.Ping{N: 5})
	if p := next[*proto.Pong](s); p.N != 5 {
		t.Errorf("pong %d", p.N)
	}
	n.await(t, true)
}

// Each side's report is passed on, by whatever message it was stated last.
func TestReportsReachTheTranscript(t *testing.T) {
	s := newStage(t, ServerConfig{})
	a, b := s.enter("alice", 1, answersNo), s.enter("bob", 2, answersAll)
	mine := &proto.NATReport{Allocation: proto.AllocationSequential, Delta: 2, Samples: []uint16{4000, 4002}}
	s.r.introduce(a.member, &proto.Introduce{Request: 5, Peer: testID("bob"), NAT: mine}, s.now)
	o := b.got()[0].(*proto.Offer)
	s.r.answer(b.member, &proto.Answer{Introduction: o.Introduction, Accept: true, NAT: &proto.NATReport{Mapping: 77}}, s.now)
	tr, err := proto.ParseTranscript(a.got()[0].(*proto.Introduction).Transcript)
	if err != nil || tr.Initiator.NAT == nil || !slices.Equal(tr.Initiator.NAT.Samples, mine.Samples) || tr.Responder.NAT == nil || tr.Responder.NAT.Mapping != 77 {
		t.Errorf("%+v, %v", tr, err)
	}
}

// A client states what it knows when it asks, when it answers, and when it asks
// again; an answer waits for what is being measured, but not for long.
func TestClientReports(t *testing.T) {
	virtually(t, ServerConfig{}, func(t *testing.T, w *world) {
		report := func(hops uint8) func() *proto.NATReport {
			return func() *proto.NATReport { return &proto.NATReport{Hops: hops} }
		}
		for name, c := range map[string]struct {
			refresh func() <-chan struct{}
			least   time.Duration
		}{
			"at once":   {nil, 0},
			"not now":   {func() <-chan struct{} { return nil }, 0},
			"measuring": {func() <-chan struct{} { return after(300 * time.Millisecond) }, 300 * time.Millisecond},
			"for ever":  {func() <-chan struct{} { return make(chan struct{}) }, time.Second},
		} {
			asking, answering := w.nodeConfig(), w.nodeConfig()
			asking.Report, answering.Report = report(3), report(4)
			answering.Answers, answering.Refresh = true, c.refresh
			a, b := runNode(t, asking), runNode(t, answering)
			a.await(t, true)
			b.await(t, true)
			began := time.Now()
			in, err := a.Introduce(t.Context(), b.key.ID(), nil)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			took := time.Since(began)
			if in.Transcript.Initiator.NAT.Hops != 3 || in.Transcript.Responder.NAT.Hops != 4 {
				t.Errorf("%s: %+v", name, in.Transcript)
			}
			if took < c.least || took > c.least+100*time.Millisecond {
				t.Errorf("%s: took %v", name, took)
			}
		}
	})
}

func after(d time.Duration) <-chan struct{} {
	done := make(chan struct{})
	time.AfterFunc(d, func() { close(done) })
	return done
}
