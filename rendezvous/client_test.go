package rendezvous

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
)

func TestClientsAreIntroduced(t *testing.T) {
	w := loopback(t, ServerConfig{ProbePorts: []uint16{7879}})
	cfg := w.nodeConfig()
	cfg.Logger = testLogger(t)
	a := runNode(t, cfg)
	asked := make(chan proto.ID, 1)
	cfg = w.nodeConfig()
	cfg.Answers = true
	cfg.Offer = func(peer proto.ID) ([]proto.Candidate, proto.Code) {
		asked <- peer
		return []proto.Candidate{hostCandidate("10.0.0.9:4001")}, proto.CodeOK
	}
	b := runNode(t, cfg)
	s := a.await(t, true)
	if !s.Observed.IsValid() || s.Observed != s.Local || !slices.Equal(s.Probing.Ports, []uint16{7879}) || s.Err != nil {
		t.Errorf("state %+v", s)
	}
	b.await(t, true)

	in, err := a.Introduce(t.Context(), b.key.ID(), []proto.Candidate{hostCandidate("192.168.1.2:4000")})
	if err != nil {
		t.Fatal(err)
	}
	got := <-b.introduced
	if peer := <-asked; peer != a.key.ID() {
		t.Errorf("offer from %v", peer)
	}
	if in.Role != proto.Initiator || got.Role != proto.Responder || in.Secret != got.Secret {
		t.Errorf("introductions %+v and %+v", in, got)
	}
	tr := in.Transcript
	if tr.Introduction != got.Transcript.Introduction || tr.Initiator.ID != a.key.ID() || tr.Responder.ID != b.key.ID() ||
		len(tr.Initiator.Candidates) != 1 || len(tr.Responder.Candidates) != 1 || tr.Initiator.Observed.Addr != s.Observed {
		t.Errorf("transcript %+v", tr)
	}
}

func TestIntroduceErrors(t *testing.T) {
	w := loopback(t, ServerConfig{})
	a := runNode(t, w.nodeConfig())
	cfg := w.nodeConfig()
	cfg.Answers = true
	cfg.Offer = func(proto.ID) ([]proto.Candidate, proto.Code) { return nil, proto.CodeRefused }
	refuses := runNode(t, cfg)
	cfg = w.nodeConfig()
	cfg.Answers = true
	bad := hostCandidate("192.168.1.2:4000")
	cfg.Offer = func(proto.ID) ([]proto.Candidate, proto.Code) { return make([]proto.Candidate, 1), proto.CodeOK }
	broken := runNode(t, cfg)
	refuses.await(t, true)
	broken.await(t, true)

	for _, test := range []struct {
		peer proto.ID
		code proto.Code
	}{
		{identity.Generate().ID(), proto.CodeOffline},
		{refuses.key.ID(), proto.CodeRefused},
		{broken.key.ID(), proto.CodeRefused},
		{a.key.ID(), proto.CodeProtocol},
	} {
		_, err := a.Introduce(t.Context(), test.peer, nil)
		var declined *DeclinedError
		if !errors.As(err, &declined) || *declined != (DeclinedError{test.peer, test.code}) {
			t.Errorf("error %v, want %v", err, test.code)
		}
	}
	if _, err := a.Introduce(t.Context(), refuses.key.ID(), slices.Repeat([]proto.Candidate{bad}, 9)); !errors.Is(err, proto.ErrTooLarge) {
		t.Errorf("too many candidates: %v", err)
	}
	if _, err := a.Introduce(t.Context(), proto.ID{}, nil); !errors.Is(err, proto.ErrMalformed) {
		t.Errorf("zero peer: %v", err)
	}
	if _, err := a.Introduce(t.Context(), refuses.key.ID(), make([]proto.Candidate, 1)); !errors.Is(err, proto.ErrMalformed) {
		t.Errorf("zero candidate: %v", err)
	}
	a.stop()
	<-a.ran
	if _, err := a.Introduce(t.Context(), refuses.key.ID(), nil); err != ErrNotRegistered {
		t.Errorf("after Run: %v", err)
	}
}

// Two clients that only answer each other both ask; the one whose request is
// later may get the introduction both ways.
func TestBothConnect(t *testing.T) {
	w := loopback(t, ServerConfig{})
	aCfg, bCfg := w.nodeConfig(), w.nodeConfig()
	aCfg.AnswersFor = []proto.ID{bCfg.Key.ID()}
	bCfg.AnswersFor = []proto.ID{aCfg.Key.ID()}
	a, b := runNode(t, aCfg), runNode(t, bCfg)
	a.await(t, true)
	b.await(t, true)
	var wg sync.WaitGroup
	var results [2]Introduction
	for i, pair := range [][2]*node{{a, b}, {b, a}} {
		wg.Go(func() {
			var err error
			if results[i], err = pair[0].Introduce(t.Context(), pair[1].key.ID(), nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if results[0].Transcript.Introduction != results[1].Transcript.Introduction || results[0].Role != results[1].Role.Peer() {
		t.Errorf("introductions %+v and %+v", results[0], results[1])
	}
}

func TestIntroduceWaitsForRegistration(t *testing.T) {
	virtually(t, ServerConfig{}, func(t *testing.T, w *world) {
		cfg := w.nodeConfig()
		cfg.Answers = true
		b := runNode(t, cfg)
		var up atomic.Bool
		cfg = w.nodeConfig()
		cfg.Dial = func(ctx context.Context) (net.Conn, error) {
			if !up.Load() {
				return nil, syscall.ENETUNREACH
			}
			return w.dial(ctx)
		}
		a := runNode(t, cfg)
		if s := a.await(t, false); !errors.Is(s.Err, syscall.ENETUNREACH) || s.Permanent || s.Retry > firstRetry {
			t.Errorf("state %+v", s)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := a.Introduce(ctx, b.key.ID(), nil); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v", err)
		}
		time.AfterFunc(10*time.Second, func() { up.Store(true) })
		if _, err := a.Introduce(t.Context(), b.key.ID(), nil); err != nil {
			t.Error(err)
		}
	})
}

// A request that waits at the server outlasts the registration on which it was
// made.
func TestIntroduceWithin(t *testing.T) {
	virtually(t, ServerConfig{}, func(t *testing.T, w *world) {
		wire := &gatekeeper{dial: w.dial}
		cfg := w.nodeConfig()
		cfg.Dial = wire.Dial
		a := runNode(t, cfg)
		bCfg := w.nodeConfig()
		bCfg.Answers = true
		var declined *DeclinedError
		began := time.Now()
		if _, err := a.IntroduceWithin(t.Context(), 30*time.Second, bCfg.Key.ID(), nil); !errors.As(err, &declined) || declined.Code != proto.CodeOffline {
			t.Errorf("nobody came: %v, want offline", err)
		}
		if took := time.Since(began); took < 30*time.Second || took > 31*time.Second {
			t.Errorf("the server waited %v, want 30s", took)
		}
		time.AfterFunc(10*time.Second, wire.cut)
		time.AfterFunc(45*time.Second, func() { runNode(t, bCfg) })
		if _, err := a.IntroduceWithin(t.Context(), time.Hour, bCfg.Key.ID(), nil); err != nil {
			t.Errorf("the peer came: %v", err)
		}
	})
}

// gatekeeper is a dialer whose connections can be cut.
type gatekeeper struct {
	dial func(context.Context) (net.Conn, error)
	mu   sync.Mutex
	last net.Conn
}

func (g *gatekeeper) Dial(ctx context.Context) (net.Conn, error) {
	c, err := g.dial(ctx)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last = c
	return c, err
}

func (g *gatekeeper) cut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.last.Close()
}

func TestIntroduceSurvivesLostConnection(t *testing.T) {
	virtually(t, ServerConfig{RestartGrace: 3 * time.Second}, func(t *testing.T, w *world) {
		time.Sleep(time.Minute)
		offers := make(chan struct{}, 10)
		asked := w.nodeConfig()
		asked.Answers = true
		wire := &gatekeeper{dial: w.dial}
		asked.Dial = wire.Dial
		asked.Offer = func(proto.ID) ([]proto.Candidate, proto.Code) {
			offers <- struct{}{}
			if len(offers) == 1 {
				wire.cut() // its consent never gets there
			}
			return nil, proto.CodeOK
		}
		b := runNode(t, asked)
		b.await(t, true)

		cfg := w.nodeConfig()
		own := &gatekeeper{dial: w.dial}
		cfg.Dial = own.Dial
		a := runNode(t, cfg)
		a.await(t, true)
		go func() {
			<-offers
			offers <- struct{}{}
			own.cut()
		}()
		in, err := a.Introduce(t.Context(), b.key.ID(), nil)
		if err != nil {
			t.Fatal(err)
		}
		// One that a's lost connection took with it may have come before.
		for got := range b.introduced {
			if got.Transcript.Introduction == in.Transcript.Introduction {
				break
			}
		}
	})
}

func TestSetAnswersFor(t *testing.T) {
	w := loopback(t, ServerConfig{})
	a, b := runNode(t, w.nodeConfig()), runNode(t, w.nodeConfig())
	a.await(t, true)
	b.await(t, true)
	b.SetAnswersFor([]proto.ID{a.key.ID(), {}})
	// The server handles b's messages in order.
	var declined *DeclinedError
	if _, err := b.Introduce(t.Context(), identity.Generate().ID(), nil); !errors.As(err, &declined) {
		t.Fatal(err)
	}
	if _, err := a.Introduce(t.Context(), b.key.ID(), nil); err != nil {
		t.Error(err)
	}
	many := make([]proto.ID, proto.MaxAnswersFor+5)
	for i := range many {
		many[i] = identity.Generate().ID()
	}
	b.SetAnswersFor(many)
	if _, err := b.Introduce(t.Context(), identity.Generate().ID(), nil); !errors.As(err, &declined) {
		t.Fatal(err)
	}
	if _, err := a.Introduce(t.Context(), b.key.ID(), nil); !errors.As(err, &declined) {
		t.Errorf("still answers: %v", err)
	}
}

// What is set while a registration is under way is not lost.
func TestSetAnswersForWhileRegistering(t *testing.T) {
	virtually(t, ServerConfig{}, func(t *testing.T, w *world) {
		cfg := w.nodeConfig()
		cfg.Dial = w.v.dialer(path{from: netip.MustParseAddrPort("198.51.100.2:1"), latency: 100 * time.Millisecond})
		b := runNode(t, cfg)
		a := runNode(t, w.nodeConfig())
		time.Sleep(250 * time.Millisecond) // its Register is on the way
		b.SetAnswersFor([]proto.ID{a.key.ID()})
		b.await(t, true)
		time.Sleep(time.Second)
		if _, err := a.Introduce(t.Context(), b.key.ID(), nil); err != nil {
			t.Error(err)
		}
	})
}

func TestWrongServerKeyIsPermanent(t *testing.T) {
	w := loopback(t, ServerConfig{})
	cfg := w.nodeConfig()
	cfg.Server.Key = identity.Generate().ID()
	n := runNode(t, cfg)
	err := <-n.ran
	var mismatch *identity.MismatchError
	if !errors.As(err, &mismatch) || mismatch.Got != w.key.ID() {
		t.Errorf("Run returned %v", err)
	}
	if s := n.await(t, false); !s.Permanent || s.Err != err {
		t.Errorf("state %+v", s)
	}
	if _, err := n.Introduce(t.Context(), w.key.ID(), nil); err != ErrNotRegistered {
		t.Errorf("Introduce returned %v", err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	for _, registered := range []bool{true, false} {
		w := loopback(t, ServerConfig{})
		cfg := w.nodeConfig()
		if !registered {
			cfg.Dial = func(ctx context.Context) (net.Conn, error) {
				<-ctx.Done()
				return nil, ctx.Err()
			}
		}
		n := runNode(t, cfg)
		if registered {
			n.await(t, true)
		}
		n.stop()
		if err := <-n.ran; err != context.Canceled {
			t.Errorf("Run returned %v", err)
		}
	}
}

// fakeServer accepts clients and talks to them as the test says.
type fakeServer struct {
	t   *testing.T
	key *identity.Key
	v   *virtualListener
}

func newFakeServer(t *testing.T) *fakeServer {
	f := &fakeServer{t: t, key: identity.Generate(), v: newVirtualListener()}
	t.Cleanup(func() { f.v.Close() })
	return f
}

func (f *fakeServer) nodeConfig() ClientConfig {
	return ClientConfig{
		Server:   proto.ServerURL{Host: "203.0.113.7", Port: 7878, Key: f.key.ID()},
		Key:      identity.Generate(),
		Instance: proto.NewToken(),
		Dial:     f.v.dialer(path{from: netip.MustParseAddrPort("198.51.100.1:4000")}),
	}
}

// accept takes the next client up to the end of the TLS handshake.
func (f *fakeServer) accept() *script {
	f.t.Helper()
	raw, err := f.v.Accept()
	if err != nil {
		f.t.Fatal(err)
	}
	f.t.Cleanup(func() { raw.Close() })
	s := &script{t: f.t, raw: raw, conn: tls.Server(raw, f.key.ServerConfig(proto.ALPNServer, nil))}
	if err := s.conn.Handshake(); err != nil {
		f.t.Fatal(err)
	}
	return s
}

// register takes the next client and registers it.
func (f *fakeServer) register() *script {
	f.t.Helper()
	s := f.accept()
	r := next[*proto.Register](s)
	s.instance = r.Instance
	s.send(&proto.Registered{Observed: proto.NewCandidate(netip.MustParseAddrPort("198.51.100.1:4000"), proto.Observed, 65535)})
	return s
}

func TestOtherVersionIsPermanent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer(t)
		n := runNode(t, f.nodeConfig())
		s := f.accept()
		next[*proto.Register](s)
		s.conn.Write([]byte{proto.Version + 1, byte(proto.TypeRegistered), 0, 1, 0xa0})
		if err := <-n.ran; !errors.Is(err, proto.ErrVersion) {
			t.Errorf("Run returned %v", err)
		}
	})
}

func TestFailureOfTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer(t)
		n := runNode(t, f.nodeConfig())
		s := f.accept()
		next[*proto.Register](s)
		s.send(&proto.Failure{Code: proto.CodeBusy, Text: "full"})
		var failure *FailureError
		if st := n.await(t, false); !errors.As(st.Err, &failure) || *failure != (FailureError{proto.CodeBusy, "full"}) {
			t.Errorf("state %+v", st)
		}
		s = f.register()
		n.await(t, true)
		s.send(&proto.Failure{Code: proto.CodeShutdown})
		if st := n.await(t, false); !errors.As(st.Err, &failure) || failure.Code != proto.CodeShutdown || st.Permanent {
			t.Errorf("state %+v", st)
		}
	})
}

// A server that lies is told that it broke the protocol, and left.
func TestServerThatLies(t *testing.T) {
	me, other, third := identity.Generate(), identity.Generate(), identity.Generate()
	instance := proto.NewToken()
	party := func(k *identity.Key, instance proto.Token) proto.Party {
		return proto.Party{ID: k.ID(), Instance: instance,
			Observed: proto.NewCandidate(netip.MustParseAddrPort("198.51.100.1:4000"), proto.Observed, 65535)}
	}
	intro := func(request uint32, token proto.Token, version uint32, a, b proto.Party) *proto.Introduction {
		tr := proto.Transcript{Introduction: token, PlanVersion: version, Initiator: a, Responder: b}
		raw, err := tr.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		return &proto.Introduction{Request: request, Secret: proto.NewSecret(), Transcript: raw}
	}
	mine, others, thirds := party(me, instance), party(other, proto.NewToken()), party(third, proto.NewToken())
	offered := proto.NewToken()
	for _, test := range []struct {
		name    string
		message proto.Message
	}{
		{"introduction of others", intro(1, proto.NewToken(), 1, others, thirds)},
		{"introduction of another instance", intro(1, proto.NewToken(), 1, party(me, proto.NewToken()), others)},
		{"introduction to somebody else", intro(1, proto.NewToken(), 1, mine, thirds)},
		{"plan version that nobody knows", intro(1, proto.NewToken(), proto.PlanVersion+1, mine, others)},
		{"request that was never made", intro(99, proto.NewToken(), 1, mine, others)},
		{"without consent", intro(0, proto.NewToken(), 1, others, mine)},
		{"with consent to another introduction's peer", intro(0, offered, 1, thirds, mine)},
		{"initiator who did not ask", intro(0, offered, 1, mine, others)},
		{"decline of what was not asked", &proto.Declined{Request: 99, Code: proto.CodeBusy}},
		{"a client's message", &proto.Introduce{Request: 1, Peer: me.ID()}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeServer(t)
				cfg := f.nodeConfig()
				cfg.Key, cfg.Instance = me, instance
				n := runNode(t, cfg)
				s := f.register()
				go n.Introduce(t.Context(), other.ID(), nil)
				next[*proto.Introduce](s)
				s.send(&proto.Offer{Introduction: offered, Initiator: other.ID()})
				next[*proto.Answer](s)
				s.send(test.message)
				s.failed(proto.CodeProtocol)
				if st := n.await(t, false); !errors.Is(st.Err, proto.ErrMalformed) || st.Permanent {
					t.Errorf("state %+v", st)
				}
				if len(n.introduced) > 0 {
					t.Error("the introduction was believed")
				}
				n.stop()
				<-n.ran
			})
		})
	}
}

func TestServerThatBabbles(t *testing.T) {
	for name, frame := range map[string][]byte{
		"garbage":      {proto.Version, byte(proto.TypeIntroduction), 0, 2, 0xff, 0xff},
		"too large":    {proto.Version, byte(proto.TypePing), 0xff, 0xff},
		"unknown type": {proto.Version, 0x7f, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFakeServer(t)
				n := runNode(t, f.nodeConfig())
				s := f.register()
				s.conn.Write(frame)
				s.failed(proto.CodeProtocol)
				if st := n.await(t, false); st.Err == nil || st.Permanent {
					t.Errorf("state %+v", st)
				}
			})
		})
	}
}

// However many offers a server makes at once, few answers wait for a fresh report; the
// others go out as they come.
func TestOffersDoNotPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer(t)
		cfg := f.nodeConfig()
		cfg.Refresh = func() <-chan struct{} { return make(chan struct{}) }
		runNode(t, cfg)
		s := f.register()
		const offers = 100
		go func() {
			for range offers {
				s.send(&proto.Offer{Introduction: proto.NewToken(), Initiator: proto.ID{1}})
			}
		}()
		began, late := time.Now(), 0
		for range offers {
			next[*proto.Answer](s)
			if time.Since(began) >= freshLimit {
				late++
			}
		}
		if late != maxWaiting {
			t.Errorf("%d answers have waited", late)
		}
	})
}

func TestIntroductionAfterItsCallerGaveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer(t)
		n := runNode(t, f.nodeConfig())
		s := f.register()
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			next[*proto.Introduce](s)
			cancel()
		}()
		peer := identity.Generate().ID()
		if _, err := n.Introduce(ctx, peer, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
		if w := next[*proto.Withdraw](s); w.Request != 1 {
			t.Errorf("withdrawn %+v", w)
		}
		observed := proto.NewCandidate(netip.MustParseAddrPort("198.51.100.1:4000"), proto.Observed, 65535)
		tr := proto.Transcript{Introduction: proto.NewToken(), PlanVersion: 1,
			Initiator: proto.Party{ID: n.key.ID(), Instance: s.instance, Observed: observed},
			Responder: proto.Party{ID: peer, Instance: proto.NewToken(), Observed: observed}}
		raw, err := tr.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		s.send(&proto.Introduction{Request: 1, Secret: proto.NewSecret(), Transcript: raw})
		s.send(&proto.Ping{N: 8})
		if p := next[*proto.Pong](s); p.N != 8 {
			t.Errorf("pong %d", p.N)
		}
		if len(n.introduced) > 0 {
			t.Error("Introduced was called")
		}
	})
}

func TestKeepalive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer(t)
		n := runNode(t, f.nodeConfig())
		s := f.register()
		n.await(t, true)
		intervals := make(map[time.Duration]bool)
		last := time.Now()
		for range 50 {
			p := next[*proto.Ping](s)
			interval := time.Since(last)
			last = time.Now()
			if interval < pingAfterMin || interval > proto.KeepaliveMax-time.Second {
				t.Fatalf("ping after %v", interval)
			}
			intervals[interval] = true
			s.send(&proto.Pong{N: p.N})
		}
		if len(intervals) < 40 {
			t.Errorf("only %d different intervals", len(intervals))
		}
		next[*proto.Ping](s) // not answered
		asked := time.Now()
		st := n.await(t, false)
		if took := time.Since(asked); took != pongChecks*pongInterval || !errors.Is(st.Err, errSilent) {
			t.Errorf("given up after %v: %v", took, st.Err)
		}
		if st.Retry > firstRetry {
			t.Errorf("after a long registration it waits %v", st.Retry)
		}
		f.register()
		n.await(t, true)
	})
}

// A process that was stopped for longer than the server may be silent finds
// the pong when it goes on: the clock alone does not end the registration.
func TestKeepaliveOfStoppedProcess(t *testing.T) {
	var k keepalive
	ping, wait := k.tick(0)
	if ping != 1 || wait != pongInterval {
		t.Fatalf("ping %d, wait %v", ping, wait)
	}
	if ping, wait = k.tick(0); ping != 0 || wait != pongInterval { // hours later, before the reader ran
		t.Fatalf("ping %d, wait %v", ping, wait)
	}
	if ping, wait = k.tick(1); ping != 0 || wait < pingAfterMin {
		t.Fatalf("ping %d, wait %v", ping, wait)
	}
	if ping, _ = k.tick(1); ping != 2 {
		t.Fatalf("ping %d", ping)
	}
	for range pongChecks - 1 {
		if _, wait = k.tick(1); wait != pongInterval {
			t.Fatalf("wait %v", wait)
		}
	}
	if _, wait = k.tick(1); wait != 0 {
		t.Fatal("a silent server is not given up")
	}
}

// A server that accepts and says nothing is given up, and tried again.
func TestSilentServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFakeServer(t)
		n := runNode(t, f.nodeConfig())
		begin := time.Now()
		st := n.await(t, false)
		if took := time.Since(begin); took != attemptTimeout || !errors.Is(st.Err, context.DeadlineExceeded) {
			t.Errorf("after %v: %v", took, st.Err)
		}
		raw, _ := f.v.Accept()
		raw.Close()
		f.register()
		n.await(t, true)
	})
}

func TestBackoff(t *testing.T) {
	var b backoff
	var got []time.Duration
	for range 8 {
		got = append(got, b.next(1))
	}
	want := []time.Duration{1, 2, 4, 8, 16, 30, 30, 30}
	for i := range want {
		if got[i] != want[i]*time.Second {
			t.Fatalf("delays %v, want %v s", got, want)
		}
	}
	if d := b.next(0.5); d != 15*time.Second {
		t.Errorf("half of it is %v", d)
	}
	b.registered(lasting)
	if d := b.next(1); d != lastRetry {
		t.Errorf("after a short registration %v", d)
	}
	b.registered(lasting + 1)
	if d := b.next(1); d != firstRetry {
		t.Errorf("after a long registration %v", d)
	}
	if d := b.next(0); d != 0 {
		t.Errorf("at least %v", d)
	}
}

// After a restart everybody comes back by itself, not all at once, and an
// introduction that is asked for meanwhile succeeds.
func TestRestartWithManyClients(t *testing.T) {
	const clients = 200
	// All are to be back within the grace, also on a busy machine and with the race detector.
	cfg := ServerConfig{Key: identity.Generate(), RestartGrace: time.Minute, ConnectionRate: -1}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := serve(t, cfg, l)
	addr := l.Addr().String()
	var dials atomic.Int64
	nodes := make([]*node, clients)
	for i := range nodes {
		c := w.nodeConfig()
		c.Answers = true
		c.Dial = func(ctx context.Context) (net.Conn, error) {
			dials.Add(1)
			return new(net.Dialer).DialContext(ctx, "tcp", addr)
		}
		nodes[i] = runNode(t, c)
	}
	for _, n := range nodes {
		n.await(t, true)
	}
	if err := w.server.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	delays := make(map[time.Duration]bool)
	for _, n := range nodes {
		s := n.await(t, false)
		if s.Retry > firstRetry || s.Permanent {
			t.Fatalf("state %+v", s)
		}
		delays[s.Retry] = true
	}
	if len(delays) < clients/2 {
		t.Errorf("only %d different delays", len(delays))
	}
	dials.Store(0)
	l, err = net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	serve(t, cfg, l)
	if _, err := nodes[0].Introduce(t.Context(), nodes[clients-1].key.ID(), nil); err != nil {
		t.Error(err)
	}
	for _, n := range nodes {
		n.await(t, true)
	}
	t.Logf("%d dials for %d clients", dials.Load(), clients)
}

func TestRunTwicePanics(t *testing.T) {
	w := loopback(t, ServerConfig{})
	n := runNode(t, w.nodeConfig())
	n.await(t, true)
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	n.Run(t.Context())
}

func TestNewClientPanics(t *testing.T) {
	good := newFakeServer(t).nodeConfig()
	for name, spoil := range map[string]func(*ClientConfig){
		"key":      func(c *ClientConfig) { c.Key = nil },
		"dial":     func(c *ClientConfig) { c.Dial = nil },
		"instance": func(c *ClientConfig) { c.Instance = proto.Token{} },
		"server":   func(c *ClientConfig) { c.Server = proto.ServerURL{} },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("no panic without %s", name)
				}
			}()
			cfg := good
			spoil(&cfg)
			NewClient(cfg)
		}()
	}
}

func TestConsentsAreBounded(t *testing.T) {
	var c consents
	peer := testID("bob")
	first := proto.NewToken()
	c.add(first, peer)
	for range maxConsents {
		c.add(proto.NewToken(), peer)
	}
	if c.take(first, peer) {
		t.Error("the oldest is still there")
	}
	if len(c.peers) != maxConsents || len(c.order) != maxConsents {
		t.Errorf("%d peers, %d in order", len(c.peers), len(c.order))
	}
	last := c.order[maxConsents-1]
	if c.take(last, testID("alice")) || c.take(last, proto.ID{}) || !c.take(last, peer) || c.take(last, peer) {
		t.Error("take is wrong")
	}
}
