package peer

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
	"github.com/peerd/peerd/punch/reuse"
	"github.com/peerd/peerd/rendezvous"
)

func TestChooseMode(t *testing.T) {
	noShare, noDials := errors.New("no listener beside dials"), errors.New("no second dial")
	all := reuse.Capabilities{Mode: reuse.Shared}
	some := reuse.Capabilities{Mode: reuse.DialOnly, NotShared: noShare}
	last := reuse.Capabilities{Mode: reuse.Sequential, NotShared: noShare, NotDialOnly: noDials}
	for _, tt := range []struct {
		system reuse.Capabilities
		wanted reuse.Mode
		mode   reuse.Mode
		why    []error // that it is not shared
		fails  error
	}{
		{all, 0, reuse.Shared, nil, nil},
		{all, reuse.Shared, reuse.Shared, nil, nil},
		{all, reuse.DialOnly, reuse.DialOnly, []error{errForced}, nil},
		{all, reuse.Sequential, reuse.Sequential, []error{errForced}, nil},
		{some, 0, reuse.DialOnly, []error{noShare}, nil},
		{some, reuse.Shared, 0, nil, noShare},
		{some, reuse.Sequential, reuse.Sequential, []error{errForced}, nil},
		{last, 0, reuse.Sequential, []error{noShare, noDials}, nil},
		{last, reuse.DialOnly, 0, nil, noDials},
	} {
		mode, why, err := (&Config{PortMode: tt.wanted}).chooseMode(tt.system)
		if mode != tt.mode || !errors.Is(err, tt.fails) || (why == nil) != (tt.why == nil) {
			t.Errorf("%v wanted of %+v: %v, %v, %v", tt.wanted, tt.system, mode, why, err)
		}
		for _, reason := range tt.why {
			if !errors.Is(why, reason) {
				t.Errorf("%v wanted of %+v: not shared because %v, want %v", tt.wanted, tt.system, why, reason)
			}
		}
	}
}

func TestConfigRefusesUnknownPortMode(t *testing.T) {
	if _, err := New(Config{Key: identity.Generate(), Server: proto.ServerURL{Key: proto.ID{1}}, PortMode: 9}); err == nil {
		t.Error("mode 9 is no mode")
	}
}

// watched is a node whose events are kept.
type watched struct {
	*Node
	mu     sync.Mutex
	events []Event
}

func watch(t *testing.T, cfg Config) *watched {
	w := &watched{}
	cfg.Events = func(e Event) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.events = append(w.events, e)
	}
	w.Node = startNode(t, cfg)
	return w
}

// of returns the events of some kinds.
func (w *watched) of(kinds ...EventKind) (list []Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if slices.Contains(kinds, e.Kind) {
			list = append(list, e)
		}
	}
	return list
}

// echoed sends a line through a new stream to a peer and reports whether it comes
// back.
func echoed(t *testing.T, from *Node, to proto.ID) {
	t.Helper()
	s, err := from.Dial(within(t, 20*time.Second), to, "echo")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	line := []byte("from " + from.ID().String())
	if _, err := s.Write(line); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(s, make([]byte, len(line))); err != nil {
		t.Fatal(err)
	}
}

// A node that cannot listen meets one that does, whoever asks, also where both are
// on one host.
func TestModesMeetAListener(t *testing.T) {
	for _, mode := range []reuse.Mode{reuse.DialOnly, reuse.Sequential} {
		for _, asks := range []reuse.Mode{reuse.Shared, mode} {
			t.Run(fmt.Sprintf("%v, %v asks", mode, asks), func(t *testing.T) {
				answers := mode
				if asks == mode {
					answers = reuse.Shared
				}
				url, key := startServer(t), identity.Generate()
				b := watch(t, Config{Server: url, PortMode: answers, Answer: true, Allow: []proto.ID{key.ID()}, Expose: map[string]string{"echo": startEcho(t)}})
				a := watch(t, Config{Server: url, PortMode: asks, Key: key})
				echoed(t, a.Node, b.ID())
				p := a.sessionPath(t, b.ID())
				if p.Remote.Port() != b.Port() || p.Local.Port() != a.Port() {
					t.Errorf("path %+v, want one between ports %d and %d", p, a.Port(), b.Port())
				}
				checkClaimed(t, a, asks)
				checkClaimed(t, b, answers)
			})
		}
	}
}

func (w *watched) sessionPath(t *testing.T, id proto.ID) Path {
	t.Helper()
	s, err := w.Connect(within(t, 10*time.Second), id)
	if err != nil {
		t.Fatal(err)
	}
	return s.Path()
}

// checkClaimed checks that a node says how it uses its port.
func checkClaimed(t *testing.T, w *watched, mode reuse.Mode) {
	t.Helper()
	st, claimed := w.Status(), w.of(Claimed)
	if len(claimed) != 1 || claimed[0].Mode != mode || claimed[0].Port != w.Port() || (claimed[0].Err == nil) != (mode == reuse.Shared) {
		t.Errorf("events %+v, want that port %d is %v", claimed, w.Port(), mode)
	}
	if st.PortMode != mode.String() || (st.NotShared == "") != (mode == reuse.Shared) {
		t.Errorf("status %+v, want mode %v and why", st, mode)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if first := w.events[0].Kind; first != Claimed {
		t.Errorf("the first event is %q", first)
	}
}

// With one socket at a time, the session has the port: the node goes on from
// other ports, says so, has more sessions from them, and goes back.
func TestSequentialRegistersFromAnotherPort(t *testing.T) {
	url := startServer(t)
	peers := []*identity.Key{identity.Generate(), identity.Generate()}
	n := watch(t, Config{Server: url, PortMode: reuse.Sequential, Answer: true, Allow: []proto.ID{peers[0].ID(), peers[1].ID()}, Expose: map[string]string{"echo": startEcho(t)}})
	home, ports := n.Port(), map[uint16]bool{n.Port(): true}
	var others []*Node
	for i, key := range peers {
		o := startNode(t, Config{Server: url, Key: key})
		echoed(t, o, n.ID())
		others = append(others, o)
		eventually(t, "registered again", func() bool { return n.Status().Registered && len(n.of(Moved)) == i+1 })
		from := n.Status().RegisteredFrom
		if ports[from] || n.Status().Port != home || n.Observed().Port() != from {
			t.Errorf("session %d: registered from %d, observed %v; taken are %v", i+1, from, n.Observed(), ports)
		}
		ports[from] = true
		if moved := n.of(Moved)[i]; moved.Port != from || moved.Err == nil || !strings.Contains(moved.Err.Error(), peers[0].ID().String()) {
			t.Errorf("moved: %+v; want that the connection to the first peer has the port", moved)
		}
	}
	for _, o := range others {
		echoed(t, o, n.ID()) // the first session lives
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "back at its own port", func() bool { return n.Status().Registered && n.Status().RegisteredFrom == home })
	if moved := n.of(Moved); len(moved) != 3 || moved[2].Port != home || moved[2].Err != nil {
		t.Errorf("moved: %+v", moved)
	}
	if suspended := n.of(Suspended); len(suspended) != 3 {
		t.Errorf("suspended %d times, want twice for a meeting and once to go back", len(suspended))
	}
	again := startNode(t, Config{Server: url, Key: peers[0]})
	echoed(t, again, n.ID())
	if p := n.Status().Sessions[0].Path; p.Local.Port() != home {
		t.Errorf("after that, a session from %v", p.Local)
	}
}

// Introductions come one at a time: several peers that ask at once all get their
// session, one after the other.
func TestSequentialMeetsOneAfterTheOther(t *testing.T) {
	url := startServer(t)
	const count = 4
	var allow []proto.ID
	var keys []*identity.Key
	for range count {
		keys = append(keys, identity.Generate())
		allow = append(allow, keys[len(keys)-1].ID())
	}
	n := watch(t, Config{Server: url, PortMode: reuse.Sequential, Answer: true, Allow: allow, Expose: map[string]string{"echo": startEcho(t)}})
	var wg sync.WaitGroup
	for _, key := range keys {
		o := startNode(t, Config{Server: url, Key: key})
		wg.Go(func() {
			if _, err := o.Await(within(t, 30*time.Second), n.ID()); err != nil { // which comes again if it hears that the node is busy
				t.Errorf("%v", err)
			}
		})
	}
	wg.Wait()
	eventually(t, "a session with each", func() bool { return len(n.Status().Sessions) == count })
}

// A sequential node that asks is asked at the same time.
func TestSequentialAsksAndIsAsked(t *testing.T) {
	url := startServer(t)
	ka, kb := identity.Generate(), identity.Generate()
	echo := map[string]string{"echo": startEcho(t)}
	n := startNode(t, Config{Server: url, PortMode: reuse.Sequential, Answer: true, Allow: []proto.ID{ka.ID()}, Expose: echo})
	a := startNode(t, Config{Server: url, Key: ka})
	b := startNode(t, Config{Server: url, Key: kb, Answer: true, Allow: []proto.ID{n.ID()}, Expose: echo})
	var wg sync.WaitGroup
	ctx := within(t, 30*time.Second)
	wg.Go(func() {
		if _, err := a.Await(ctx, n.ID()); err != nil {
			t.Error(err)
		}
	})
	wg.Go(func() {
		if _, err := n.Await(ctx, b.ID()); err != nil {
			t.Error(err)
		}
	})
	wg.Wait()
}

// While an introduction is expected, another peer hears that the node is busy; so
// does nobody whose own introduction it is.
func TestSequentialIsBusy(t *testing.T) {
	url := startServer(t)
	allow := []proto.ID{{1}, {2}}
	n := startNode(t, Config{Server: url, PortMode: reuse.Sequential, Answer: true, Allow: allow})
	for i, want := range []proto.Code{proto.CodeOK, proto.CodeBusy, proto.CodeOK, proto.CodeRefused} {
		id := []proto.ID{{1}, {2}, {1}, {3}}[i]
		if _, code := n.consent(id); code != want {
			t.Errorf("offer %d: %v, want %v", i, code, want)
		}
	}
	time.Sleep(consentLife)
	if _, code := n.consent(proto.ID{2}); code != proto.CodeOK {
		t.Errorf("when the first introduction has not come: %v", code)
	}
}

// introductionTo returns an introduction of a sequential node to a peer.
func introductionTo(n *Node, peer proto.ID) rendezvous.Introduction {
	observed := func(port uint16) proto.Candidate {
		return proto.NewCandidate(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port), proto.Observed, 0)
	}
	return rendezvous.Introduction{Role: proto.Responder, Secret: proto.NewSecret(), Received: time.Now(), Transcript: &proto.Transcript{
		Introduction: proto.NewToken(), PlanVersion: proto.PlanVersion,
		Initiator: proto.Party{ID: peer, Instance: proto.NewToken(), Observed: observed(1)},
		Responder: proto.Party{ID: n.ID(), Instance: n.instance, Observed: observed(n.Port()), PortMode: proto.PortSequential},
	}}
}

// Of two introductions that come at once, one has to wait for another time.
func TestSequentialHasOneMeeting(t *testing.T) {
	n := startNode(t, Config{Server: startServer(t), PortMode: reuse.Sequential, Answer: true})
	first, second := n.meet(introductionTo(n, proto.ID{1})), n.meet(introductionTo(n, proto.ID{2}))
	if _, err := second.await(within(t, time.Second)); !errors.Is(err, errBusy) {
		t.Errorf("the second: %v, want errBusy", err)
	}
	if first.isSettled() {
		t.Errorf("the first has ended: %v", first.err)
	}
}

// The peer whose introduction this node has consented to dials it for as long as the
// plan lasts, and then fails: it is not to wait for nothing because an introduction
// that the node has asked for itself came first, or because the node consented
// although it could not take the introduction up.
func TestSequentialKeepsItsConsent(t *testing.T) {
	asks, asked := proto.ID{1}, proto.ID{2}
	n := startNode(t, Config{Server: startServer(t), PortMode: reuse.Sequential, Answer: true, Allow: []proto.ID{asks}})
	if _, code := n.consent(asks); code != proto.CodeOK {
		t.Fatalf("the first offer: %v", code)
	}
	own := n.meet(introductionTo(n, asked))
	if _, err := own.await(within(t, time.Second)); !errors.Is(err, errBusy) {
		t.Errorf("its own introduction: %v, want errBusy", err)
	}
	if m := n.meet(introductionTo(n, asks)); m.isSettled() {
		t.Fatalf("the introduction that it has consented to: %v", m.err)
	}
	if _, code := n.consent(asks); code != proto.CodeBusy {
		t.Errorf("an offer during a meeting: %v, want %v", code, proto.CodeBusy)
	}
}

// Something that a test of the port does not show keeps the node from registering
// from it: it stays where it is, and tries again less and less often.
func TestSequentialDoesNotFlap(t *testing.T) {
	url := startServer(t)
	n := watch(t, Config{Server: url, PortMode: reuse.Sequential})
	home := n.Port()
	n.client.Suspend()
	server := netip.AddrPortFrom(netip.MustParseAddr(url.Host), url.Port)
	inTheWay, err := n.port.Dial(t.Context(), server) // the same two endpoints
	if err != nil {
		t.Fatal(err)
	}
	defer inTheWay.Close()
	n.client.Resume()
	moved := func() bool { return n.Status().Registered && n.Status().RegisteredFrom != home }
	eventually(t, "registered from another port", moved)
	if err := n.port.Free(); err != nil && os.Getenv("CI") != "true" {
		t.Skip("this system's bind knows of the connection, so there is nothing to come back from:", err)
	} else if err != nil {
		t.Fatal("bind knows of the connection: ", err)
	}
	before, from := len(n.of(Suspended)), n.Status().RegisteredFrom
	for range 50 {
		n.goHome()
		eventually(t, "still registered", moved)
	}
	if tries := len(n.of(Suspended)) - before; tries > 2 || n.Status().RegisteredFrom != from {
		t.Errorf("%d tries to go back, registered from %d instead of %d", tries, n.Status().RegisteredFrom, from)
	}
	if err := inTheWay.(*net.TCPConn).SetLinger(0); err != nil {
		t.Fatal(err)
	}
	inTheWay.Close()
	eventually(t, "back at its own port", func() bool { return n.Status().Registered && n.Status().RegisteredFrom == home })
}

// The pauses grow up to a bound, and are over once the node is back.
func TestSequentialBars(t *testing.T) {
	n, failed := &Node{}, errors.New("failed")
	n.barHome(failed)
	if n.isBarred() || n.sequence.bar != 0 {
		t.Error("barred without another port")
	}
	n.sequence.from = &reuse.Port{}
	for _, want := range []time.Duration{2, 4, 8, 16, 32, 60, 60} {
		n.barHome(failed)
		if left := time.Until(n.sequence.barred); !n.isBarred() || left > want*time.Second || left < (want-1)*time.Second {
			t.Errorf("barred for %v, want %d s", left, want)
		}
	}
	n.barHome(nil)
	n.barHome(failed)
	if n.sequence.bar != firstBar {
		t.Errorf("then %v", n.sequence.bar)
	}
}
