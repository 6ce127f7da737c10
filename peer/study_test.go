package peer

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
	"github.com/peerd/peerd/punch/nat"
	"github.com/peerd/peerd/rendezvous"
)

// startProbedServer runs a server on loopback that helps with measuring, and
// returns the listener of its probe port.
func startProbedServer(t *testing.T, probes bool) (proto.ServerURL, net.Listener) {
	t.Helper()
	var listeners [2]net.Listener
	for i := range listeners {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		listeners[i] = l
	}
	port := func(l net.Listener) uint16 { return uint16(l.Addr().(*net.TCPAddr).Port) }
	origins, err := rendezvous.OpenOrigins()
	if err != nil {
		t.Fatal(err)
	}
	key := identity.Generate()
	s := rendezvous.NewServer(rendezvous.ServerConfig{Key: key, ProbePorts: []uint16{port(listeners[1])}, Origins: origins})
	done := make(chan struct{}, 2)
	go func() { s.Serve(listeners[0]); done <- struct{}{} }()
	go func() {
		if probes {
			s.ServeProbe(listeners[1])
		}
		done <- struct{}{}
	}()
	t.Cleanup(func() {
		s.Close()
		listeners[1].Close()
		<-done
		<-done
		origins.Close()
	})
	return proto.ServerURL{Host: "127.0.0.1", Port: port(listeners[0]), Key: key.ID()}, listeners[1]
}

// A node that has nothing else to do finds out by itself what there is, shows it,
// and tells the peers that it meets; neither that nor the server's SYNs get in the
// way of a peer.
func TestNodeStudiesByItself(t *testing.T) {
	url, _ := startProbedServer(t, true)
	caller := identity.Generate()
	studied := make(chan *NATStatus, 8)
	b := startNode(t, Config{Server: url, Answer: true, Allow: []proto.ID{caller.ID()}, Events: func(e Event) {
		if e.Kind == Studied {
			studied <- e.NAT
		}
	}})
	if st := b.Status(); st.NAT != nil {
		t.Errorf("before: %+v", st.NAT)
	}
	var found *NATStatus
	select {
	case found = <-studied:
	case <-within(t, 20*time.Second).Done():
		t.Fatal("nothing was measured")
	}
	if found.Mapping != "none" || found.Allocation != "preserving" || found.Poisoned != "no" {
		t.Errorf("found %+v", found)
	}
	if st := b.Status(); st.NAT == nil || st.NAT.Mapping != "none" {
		t.Errorf("status %+v", st.NAT)
	}
	a := startNode(t, Config{Server: url, Key: caller})
	if _, err := a.Connect(within(t, 10*time.Second), b.ID()); err != nil {
		t.Fatal(err)
	}
	if r := b.natReport(); r == nil || r.Mapping != proto.MappingNone {
		t.Errorf("peers are told %+v", r)
	}
}

// What is told are the latest mappings where they have to be predicted: fresh ones
// are made for a request and for an answer.
func TestSamplesBeforeAPunch(t *testing.T) {
	url, _ := startProbedServer(t, true)
	caller := identity.Generate()
	b := startNode(t, Config{Server: url, Answer: true, Allow: []proto.ID{caller.ID()}})
	a := startNode(t, Config{Server: url, Key: caller})
	for _, n := range []*Node{a, b} {
		n.mu.Lock()
		n.study.learnLocked(placeOf(n.study.here), &nat.Result{NATReport: proto.NATReport{
			Mapping: proto.MappingAddressPortDependent, Allocation: proto.AllocationSequential, Delta: 1, Samples: []uint16{1, 2, 3},
		}, Sampled: time.Now().Add(-time.Hour)})
		n.mu.Unlock()
	}
	if r := a.natReport(); r.Age < 3600_000_000 || len(r.Samples) != 3 {
		t.Errorf("before: %+v", r)
	}
	if _, err := a.Connect(within(t, 10*time.Second), b.ID()); err != nil {
		t.Fatal(err)
	}
	for _, n := range []*Node{a, b} {
		if r := n.natReport(); len(r.Samples) != 8 || r.Age > 10_000_000 || r.Allocation != proto.AllocationSequential {
			t.Errorf("told %+v", r)
		}
	}
}

// Whoever wants samples while some are being made waits for the same ones, and soon
// after nobody gets others: a server cannot have a node make as many as it likes. And
// what was a glimpse stays one.
func TestSamplesAreShared(t *testing.T) {
	url, _ := startProbedServer(t, true)
	n := startNode(t, Config{Server: url})
	n.study.one <- struct{}{} // somebody measures
	n.mu.Lock()
	n.study.glimpsed = &nat.Result{NATReport: proto.NATReport{
		Mapping: proto.MappingAddressPortDependent, Allocation: proto.AllocationSequential, Delta: 1, Samples: []uint16{1, 2, 3},
	}}
	n.mu.Unlock()
	first, second := n.refreshing(), n.refreshing()
	if first == nil || first != second {
		t.Errorf("two ask: %v and %v", first, second)
	}
	<-n.study.one
	<-first
	<-second
	if again := n.refreshing(); again != nil {
		t.Error("samples are made without a pause")
	}
	if r := n.natReport(); len(r.Samples) != 8 {
		t.Errorf("told %+v", r)
	}
	if st := n.Status(); st.NAT != nil {
		t.Errorf("a glimpse counts as a measurement: %+v", st.NAT)
	}
}

// What is measured while the registration is lost may be of two networks.
func TestStudyOfTwoNetworks(t *testing.T) {
	url, _ := startProbedServer(t, true)
	n := startNode(t, Config{Server: url})
	here, epoch, ok := n.beginStudy(func() {})
	if !ok {
		t.Fatal("not registered")
	}
	n.mu.Lock()
	n.study.registeredLocked(here) // anew
	n.mu.Unlock()
	if n.endStudy(epoch, &nat.Result{NATReport: proto.NATReport{Hops: 9}, At: time.Now()}, nil) {
		t.Error("nobody has noticed")
	}
	if found := n.studied(); found != nil && found.Hops == 9 {
		t.Errorf("it counts: %+v", found)
	}
}

// What was found is measured anew by and by: where a part is missing, and where the
// node has been away.
func TestStudyAge(t *testing.T) {
	now := time.Unix(1_000_000_000, 0)
	result := func(age time.Duration, partial bool) *nat.Result {
		return &nat.Result{At: now.Add(-age), Partial: partial}
	}
	for name, c := range map[string]struct {
		study study
		want  bool
	}{
		"nothing":                    {study{}, false},
		"new":                        {study{found: result(time.Minute, false), held: true}, true},
		"new, in part":               {study{found: result(time.Minute, true), held: true}, true},
		"new, of before":             {study{found: result(time.Minute, false)}, true},
		"new, of before, in part":    {study{found: result(time.Minute, true)}, false},
		"old":                        {study{found: result(studyLife, false), held: true}, true},
		"old, in part":               {study{found: result(studyLife, true), held: true}, false},
		"old, of before":             {study{found: result(studyLife, false)}, false},
		"of before the clock's leap": {study{found: result(-24*time.Hour, false)}, true},
	} {
		if got := c.study.suffices(now); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// A node that is kept from measuring does not begin again and again: each time costs
// its server's second address, which may be anybody's, two SYNs.
func TestStudySchedule(t *testing.T) {
	var s schedule
	now := time.Unix(1_000_000_000, 0)
	home, train := place{inside: netip.MustParseAddr("10.0.0.1")}, place{inside: netip.MustParseAddr("10.0.0.2")}
	failed := errors.New("failed")
	for i, step := range []struct {
		at              place
		err             error
		here, elsewhere time.Duration // until the next
	}{
		{home, errInterrupted, 0, 0}, {home, errInterrupted, 0, 0}, {home, errInterrupted, studyPause, studyPause},
		{home, errInterrupted, 0, 0}, {home, nil, studyPause, studyPause},
		{train, errInterrupted, 0, 0}, {home, errInterrupted, 0, 0}, {train, errInterrupted, studyPause, studyPause},
		{home, failed, firstStudyRetry, studyPause}, {home, failed, 2 * firstStudyRetry, studyPause}, {home, failed, 4 * firstStudyRetry, studyPause},
		{train, failed, firstStudyRetry, studyPause}, {home, nil, studyPause, studyPause}, {home, failed, firstStudyRetry, studyPause},
	} {
		if wait := s.wait(step.at, now); wait > 0 {
			t.Fatalf("step %d: not due for %v", i, wait)
		}
		s.ended(step.at, now, step.err)
		if here, elsewhere := s.wait(step.at, now), s.wait(place{}, now); here != step.here || elsewhere != step.elsewhere {
			t.Errorf("step %d: next in %v, and elsewhere in %v", i, here, elsewhere)
		}
		now = now.Add(step.here)
	}
	for range 20 {
		s.ended(home, now, failed)
	}
	if here, elsewhere := s.wait(home, now), s.wait(train, now); here != lastStudyRetry || elsewhere != studyPause {
		t.Errorf("at last in %v, and elsewhere in %v", here, elsewhere)
	}
}

// Who connects at once takes a glimpse before it asks for an introduction where the
// server sees another port than its own, once; and elsewhere does not.
func TestGlimpseBeforeARequest(t *testing.T) {
	url, _ := startProbedServer(t, true)
	caller := identity.Generate()
	b := startNode(t, Config{Server: url, Answer: true, Allow: []proto.ID{caller.ID()}})
	for _, changed := range []bool{false, true} {
		told := make(chan *proto.NATReport, 8)
		a := startNode(t, Config{Server: url, Key: caller, Events: func(e Event) {
			if e.Kind == Introduced {
				told <- e.Transcript.Party(e.Role).NAT
			}
		}})
		if changed { // as if a NAT had changed it
			a.mu.Lock()
			a.study.here.Observed = netip.AddrPortFrom(a.study.here.Observed.Addr(), a.study.here.Observed.Port()^1)
			a.mu.Unlock()
		}
		if _, err := a.Connect(within(t, 10*time.Second), b.ID()); err != nil {
			t.Fatal(err)
		}
		r := <-told
		if (r != nil) != changed || changed && (r.Mapping != proto.MappingAddressPortDependent || r.Allocation != proto.AllocationPreserving) {
			t.Errorf("with another port %v: peers are told %+v", changed, r)
		}
		if _, _, again := a.needsGlimpse(); again {
			t.Error("there would be a second glimpse")
		}
		if st := a.Status(); st.NAT != nil {
			t.Errorf("a glimpse counts as a measurement: %+v", st.NAT)
		}
		a.Close()
	}
}

// Whoever looks is told of each sight when it comes, and can end what is still on its way.
func TestSightsAreSeenWhenTheyCome(t *testing.T) {
	url, _ := startProbedServer(t, true)
	n := startNode(t, Config{Server: url})
	silent, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	n.mu.Lock()
	good := netip.AddrPortFrom(n.server, n.study.here.Probing.Ports[0])
	n.mu.Unlock()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var first nat.Sight
	var once sync.Once
	sights := natNet{n, nil}.Look(ctx, false, []netip.AddrPort{good, endpoint(silent.Addr())}, func(s nat.Sight) {
		once.Do(func() { first = s })
		stop()
	})
	if first.To != good || !first.Outside.IsValid() || sights[0] != first || sights[1].Outside.IsValid() {
		t.Errorf("%+v was seen first of %+v", first, sights)
	}
}

// A connection to a peer does not wait for a measurement: that ends.
func TestPunchInterruptsStudy(t *testing.T) {
	url, silent := startProbedServer(t, false)
	caller := identity.Generate()
	b := startNode(t, Config{Server: url, Answer: true, Allow: []proto.ID{caller.ID()}})
	a := startNode(t, Config{Server: url, Key: caller})
	done := make(chan error, 1)
	go func() {
		_, err := a.Study(t.Context())
		done <- err
	}()
	if _, err := silent.Accept(); err != nil { // it waits for an answer now
		t.Fatal(err)
	}
	if _, err := a.Connect(within(t, 10*time.Second), b.ID()); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, errInterrupted) {
		t.Errorf("measuring ended with %v", err)
	}
}

// Who waits to measure does not measure what has been found out meanwhile: that
// would make mappings when peers are about to predict the next one.
func TestNothingIsMeasuredTwice(t *testing.T) {
	url, _ := startProbedServer(t, true)
	n := startNode(t, Config{Server: url})
	n.study.one <- struct{}{} // somebody measures
	type outcome struct {
		st  NATStatus
		err error
	}
	waiting := make(chan outcome, 1)
	go func() {
		st, err := n.measure(t.Context(), true)
		waiting <- outcome{st, err}
	}()
	n.mu.Lock()
	n.study.learnLocked(placeOf(n.study.here), &nat.Result{NATReport: proto.NATReport{Hops: 9}, At: time.Now()})
	n.mu.Unlock()
	<-n.study.one
	if o := <-waiting; o.err != nil || o.st.Hops != 9 {
		t.Errorf("%+v, %v", o.st, o.err)
	}
	if st, err := n.Study(within(t, 10*time.Second)); err != nil || st.Hops == 9 {
		t.Errorf("asked to: %+v, %v", st, err)
	}
}

// While a peer is being met, nothing is measured.
func TestNoStudyDuringAPunch(t *testing.T) {
	url, _ := startProbedServer(t, true)
	n := startNode(t, Config{Server: url})
	n.mu.Lock()
	n.calls[wish{peer: proto.ID{1}}] = &call{cancel: func() {}}
	n.mu.Unlock()
	if _, err := n.Study(t.Context()); !errors.Is(err, errInterrupted) {
		t.Errorf("measured: %v", err)
	}
	n.mu.Lock()
	delete(n.calls, wish{peer: proto.ID{1}})
	n.mu.Unlock()
	if _, err := n.Study(within(t, 10*time.Second)); err != nil {
		t.Error(err)
	}
}

// What was found is known where it was found, and for some places.
func TestStudiedPlaces(t *testing.T) {
	var s study
	s.init()
	at := func(i int) rendezvous.State {
		return rendezvous.State{
			Local:    netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}), uint16(1000+i)),
			Observed: netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, 1}), uint16(2000+i)),
		}
	}
	for i := range 2 * maxPlaces {
		s.registeredLocked(at(i))
		if s.found != nil {
			t.Errorf("place %d is known", i)
		}
		s.learnLocked(placeOf(at(i)), &nat.Result{NATReport: proto.NATReport{Hops: uint8(i)}})
		if s.found == nil || s.found.Hops != uint8(i) {
			t.Errorf("place %d: %+v", i, s.found)
		}
	}
	again := at(2*maxPlaces - 1)
	again.Observed = netip.AddrPortFrom(again.Observed.Addr(), 9) // another mapping, the same NAT
	if s.registeredLocked(again); s.found == nil || s.found.Hops != 2*maxPlaces-1 {
		t.Errorf("back: %+v", s.found)
	}
	if s.registeredLocked(at(0)); s.found != nil || len(s.known) != maxPlaces || len(s.order) != maxPlaces {
		t.Errorf("%d places are known, the oldest as %+v", len(s.known), s.found)
	}
	// A result that comes late is that of where it was measured.
	s.learnLocked(placeOf(at(1)), &nat.Result{})
	if s.found != nil {
		t.Error("what was found elsewhere counts here")
	}
}

// A server cannot have nodes dial whom it likes by calling an address its own.
func TestMayProbe(t *testing.T) {
	n, err := New(Config{Key: identity.Generate(), Server: proto.ServerURL{Host: "h", Port: 1, Key: proto.ID{1}}})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	for _, c := range []struct {
		server, alternate string
		want              bool
	}{
		{"203.0.113.10", "203.0.113.20", true},
		{"203.0.113.10", "8.8.8.8", true}, // with two SYNs
		{"203.0.113.10", "203.0.113.10", false},
		{"203.0.113.10", "192.168.1.1", false},
		{"203.0.113.10", "100.64.0.1", false},
		{"203.0.113.10", "127.0.0.1", false},
		{"203.0.113.10", "169.254.0.1", false},
		{"203.0.113.10", "224.0.0.1", false},
		{"203.0.113.10", "255.255.255.255", false},
		{"203.0.113.10", "2001:db8::1", false},
		{"2001:db8::1", "2001:db8::2", true},
		{"2001:db8::1", "fd00::1", false},
		{"192.168.1.5", "192.168.1.6", true},
		{"127.0.0.1", "127.0.0.2", true},
		{"203.0.113.10", "", false},
	} {
		server, alternate := netip.MustParseAddr(c.server), netip.Addr{}
		if c.alternate != "" {
			alternate = netip.MustParseAddr(c.alternate)
		}
		if got := n.mayProbe(server, alternate); got != c.want {
			t.Errorf("%s says that it is %s, too: %v, want %v", c.server, c.alternate, got, c.want)
		}
	}
}

// The servers of Config.STUN are measured with if they can be, one address each.
func TestFurtherServers(t *testing.T) {
	n, err := New(Config{Key: identity.Generate(), Server: proto.ServerURL{Host: "h", Port: 1, Key: proto.ID{1}},
		STUN: []string{"127.0.0.7:3478", "[::1]:3478", "198.51.100.1:1", "nobody.invalid:1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	n.server = netip.MustParseAddr("203.0.113.10")
	here := rendezvous.State{Local: netip.MustParseAddrPort("192.168.1.10:5000"), Observed: netip.MustParseAddrPort("198.51.100.1:5000")}
	want := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.7:3478")} // IPv4, not the node's own NAT, and known
	if got := n.further(t.Context(), here); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	n.server = want[0].Addr()
	if got := n.further(t.Context(), here); len(got) > 0 {
		t.Errorf("the server itself: %v", got)
	}
	here.Local = netip.MustParseAddrPort("[fd00::10]:5000")
	if got := n.further(t.Context(), here); !slices.Equal(got, []netip.AddrPort{netip.MustParseAddrPort("[::1]:3478")}) {
		t.Errorf("with IPv6: %v", got)
	}
	for _, bad := range [][]string{{"stun.example.org"}, {"a:1", "b:1", "c:1", "d:1", "e:1"}} {
		if _, err := New(Config{Key: identity.Generate(), Server: proto.ServerURL{Key: proto.ID{1}}, STUN: bad}); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
