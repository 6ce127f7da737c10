package sim

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"
)

// bench is one NAT with both of its sides open.
type bench struct {
	t       *testing.T
	w       *world
	nat     box
	out, in []segment
}

var (
	inner  = netip.MustParseAddrPort("192.168.1.10:4000")
	outer  = netip.MustParseAddrPort("198.51.100.1:4000")
	remote = netip.MustParseAddrPort("192.0.2.1:5000")
	other  = netip.MustParseAddrPort("192.0.2.9:5000")
)

func newBench(t *testing.T, p Profile) *bench {
	b := &bench{t: t, w: &world{}}
	b.nat = newBox(b.w, Side{NAT: p}, "NAT", inner, outer.Addr(),
		func(s segment) { b.in = append(b.in, s) }, func(s segment) { b.out = append(b.out, s) }, 1)
	return b
}

// send lets a segment leave the host, and reports what came out, if anything.
func (b *bench) send(f flags, seq, acked uint32) (out, in []segment) {
	b.out, b.in = nil, nil
	b.nat.fromInside(segment{src: inner, dst: remote, flags: f, seq: seq, ack: acked, ttl: hostTTL})
	return b.out, b.in
}

// arrive lets one come from outside.
func (b *bench) arrive(s segment) (out, in []segment) {
	if !s.src.IsValid() {
		s.src = remote
	}
	if !s.dst.IsValid() {
		s.dst = outer
	}
	if s.ttl == 0 {
		s.ttl = hostTTL
	}
	b.out, b.in = nil, nil
	b.nat.fromOutside(s)
	return b.out, b.in
}

func (b *bench) want(what string, got []segment, n int) {
	b.t.Helper()
	if len(got) != n {
		b.t.Fatalf("%s: %v, want %d segments", what, got, n)
	}
}

func profile(t *testing.T, name string) Profile {
	p, err := ProfileByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestRule10PortPreservedForAllDestinations(t *testing.T) {
	b := newBench(t, profile(t, "linux-drop"))
	out, _ := b.send(syn, 1, 0)
	b.want("our SYN", out, 1)
	if out[0].src != outer || b.nat.observed(other) != outer {
		t.Errorf("left from %v, observed as %v", out[0].src, b.nat.observed(other))
	}
	_, in := b.arrive(segment{src: other, flags: syn, seq: 9})
	b.want("a SYN from somebody else", in, 0)
}

func TestPortTakenIsRandomAndKept(t *testing.T) {
	w := &world{}
	nat := newBox(w, Side{NAT: profile(t, "linux-drop"), Taken: true}, "NAT", inner, outer.Addr(), nil, nil, 1)
	if a, b := nat.observed(remote), nat.observed(other); a != b || a.Port() == inner.Port() {
		t.Errorf("observed %v and %v", a, b)
	}
}

// What another dial has got because a SYN had taken its port is kept for those after it,
// but not by those that there are.
func TestPortSpoiltIsKeptForAll(t *testing.T) {
	b := newBench(t, profile(t, "dmz-poison"))
	from := func(to netip.AddrPort) netip.AddrPort {
		b.out = nil
		b.nat.fromInside(segment{src: inner, dst: to, flags: syn, seq: 1, ttl: hostTTL})
		b.want("our SYN", b.out, 1)
		return b.out[0].src
	}
	if first := from(remote); first != outer {
		t.Fatalf("left from %v", first)
	}
	b.arrive(segment{src: other, flags: syn, seq: 9})
	spoilt := from(other)
	third := netip.AddrPortFrom(other.Addr(), other.Port()+1)
	if again := from(third); spoilt == outer || again != spoilt {
		t.Errorf("left from %v, and to somebody else from %v", spoilt, again)
	}
	if first := from(remote); first != outer {
		t.Errorf("the dial before leaves from %v now", first)
	}
}

func TestRule11UnsolicitedSYNLeavesNoEntry(t *testing.T) {
	for name, want := range map[string]string{"linux-drop": "", "linux-open": "RST-ACK", "openwrt": "RST-ACK", "linux-icmp": "ICMP"} {
		b := newBench(t, profile(t, name))
		out, in := b.arrive(segment{flags: syn, seq: 9})
		b.want("to the host", in, 0)
		switch {
		case want == "":
			b.want("the answer", out, 0)
		case len(out) != 1 || !strings.Contains(out[0].String(), want):
			t.Errorf("%s answers %v", name, out)
		}
		out, _ = b.send(syn, 1, 0)
		if len(out) != 1 || out[0].src != outer {
			t.Errorf("%s: our SYN afterwards: %v", name, out)
		}
	}
}

func TestOpenWrtStopsAnsweringAfterABurst(t *testing.T) {
	b := newBench(t, profile(t, "openwrt"))
	answers := 0
	for i := range uint32(100) {
		out, _ := b.arrive(segment{flags: syn, seq: i})
		answers += len(out)
	}
	b.w.now = time.Second
	for i := range uint32(100) {
		out, _ := b.arrive(segment{flags: syn, seq: i})
		answers += len(out)
	}
	if answers != 75 {
		t.Errorf("%d answers, want 50 and 25", answers)
	}
}

func TestRule12RSTDestroysTheUnrepliedEntry(t *testing.T) {
	b := newBench(t, profile(t, "linux-open"))
	b.send(syn, 1000, 0)
	_, in := b.arrive(segment{flags: rst | ack, ack: 1001})
	b.want("the RST", in, 1)
	out, in := b.arrive(segment{flags: syn, seq: 9})
	b.want("the peer's SYN after it", in, 0)
	b.want("the answer", out, 1)
}

func TestICMPLeavesTheEntry(t *testing.T) {
	b := newBench(t, profile(t, "linux-icmp"))
	b.send(syn, 1000, 0)
	_, in := b.arrive(segment{icmp: portUnreachable, seq: 1000})
	b.want("the ICMP error", in, 1)
	_, in = b.arrive(segment{flags: syn, seq: 9})
	b.want("the peer's SYN after it", in, 1)
}

func TestICMPAboutNothingIsDropped(t *testing.T) {
	b := newBench(t, profile(t, "linux-icmp"))
	out, in := b.arrive(segment{icmp: portUnreachable, seq: 1000})
	b.want("to the host", in, 0)
	b.want("an answer", out, 0)
}

func TestRule13SimultaneousOpenPasses(t *testing.T) {
	b := newBench(t, profile(t, "linux-drop"))
	b.send(syn, 1000, 0)
	for _, s := range []segment{{flags: syn, seq: 9}, {flags: syn | ack, seq: 9, ack: 1001}, {flags: ack, seq: 10, ack: 1001, data: []byte("x")}} {
		_, in := b.arrive(s)
		b.want(s.String(), in, 1)
		if s.flags == syn {
			out, _ := b.send(syn|ack, 1000, 10)
			b.want("our SYN-ACK", out, 1)
		}
	}
	out, _ := b.send(ack, 1001, 11)
	b.want("our ACK", out, 1)
}

// NAT.md, 6: only the socket whose SYN left can answer the peer's.
func TestRule4ListenersSYNACKIsInvalidOnceASYNHasLeft(t *testing.T) {
	b := newBench(t, profile(t, "linux-drop"))
	b.send(syn, 1000, 0)
	_, in := b.arrive(segment{flags: syn, seq: 9})
	b.want("the peer's SYN", in, 1)
	out, _ := b.send(syn|ack, 90000, 10)
	b.want("the listener's SYN-ACK", out, 0)
	out, _ = b.send(syn, 95000, 0)
	b.want("another dial's SYN", out, 0)
	out, in = b.arrive(segment{flags: syn, seq: 99999})
	b.want("another SYN of the peer's", in, 0)
	b.want("the answer", out, 0)
	_, in = b.arrive(segment{flags: syn, seq: 9})
	b.want("the peer's SYN sent again", in, 1)
	out, _ = b.send(syn|ack, 1000, 10)
	b.want("the SYN-ACK with the number of the SYN", out, 1)
}

func TestListenersSYNACKPassesWhereNoSYNHasLeft(t *testing.T) {
	b := newBench(t, Profile{})
	_, in := b.arrive(segment{flags: syn, seq: 9})
	b.want("to a public host", in, 1)
	out, _ := b.send(syn|ack, 90000, 10)
	b.want("its SYN-ACK", out, 1)
}

func TestSynSentExpiresAfter120Seconds(t *testing.T) {
	b := newBench(t, profile(t, "linux-drop"))
	b.send(syn, 1000, 0)
	b.w.now = 119 * time.Second
	_, in := b.arrive(segment{flags: syn, seq: 9})
	b.want("after 119 s", in, 1)
	b = newBench(t, profile(t, "linux-drop"))
	b.send(syn, 1000, 0)
	b.w.now = 120 * time.Second
	_, in = b.arrive(segment{flags: syn, seq: 9})
	b.want("after 120 s", in, 0)
}

func TestARedialTakesTheEntryOver(t *testing.T) {
	b := newBench(t, profile(t, "linux-drop"))
	b.send(syn, 1000, 0)
	out, _ := b.send(syn, 900000, 0)
	b.want("the second dial's SYN", out, 1)
	b.arrive(segment{flags: syn, seq: 9})
	out, _ = b.send(syn|ack, 900000, 10)
	b.want("its SYN-ACK", out, 1)
}

func TestOurRSTLetsANewDialStartOver(t *testing.T) {
	b := newBench(t, profile(t, "linux-drop"))
	b.send(syn, 1000, 0)
	b.arrive(segment{flags: syn, seq: 9})
	out, _ := b.send(rst|ack, 1001, 10)
	b.want("our RST", out, 1)
	out, _ = b.send(syn, 900000, 0)
	b.want("the new dial's SYN", out, 1)
	_, in := b.arrive(segment{flags: syn, seq: 99999})
	b.want("the peer's new SYN", in, 1)
}

// The answer to a SYN for which there is no socket is a RST with the sequence
// number 0. Whether netfilter takes that for INVALID or for a late one, which it
// lets through without believing it, depends on the number of the SYN that left;
// nothing is mended by either.
func TestRSTOfNoSocketMendsNothing(t *testing.T) {
	for _, tt := range []struct {
		iss    uint32
		passes int
	}{{1000000000, 1}, {3000000000, 0}} {
		b := newBench(t, profile(t, "linux-drop"))
		b.send(syn, tt.iss, 0)
		b.arrive(segment{flags: syn, seq: 9})
		out, _ := b.send(rst|ack, 0, 10)
		b.want("the RST", out, tt.passes)
		out, _ = b.send(syn, tt.iss+1000000, 0)
		b.want("another dial's SYN", out, 0)
	}
}

func TestUserNATLooksAtNoSequenceNumber(t *testing.T) {
	b := newBench(t, profile(t, "user-drop"))
	b.send(syn, 1000, 0)
	_, in := b.arrive(segment{flags: syn, seq: 9})
	b.want("the peer's SYN", in, 1)
	out, _ := b.send(syn|ack, 90000, 10)
	b.want("the listener's SYN-ACK", out, 1)
}

func TestUserNATErrorPolicies(t *testing.T) {
	errors := map[string]segment{"RST": {flags: rst | ack, ack: 1001}, "ICMP": {icmp: portUnreachable, seq: 1000}}
	tests := []struct {
		p      Profile
		err    string
		passes bool // the peer's SYN after it
	}{
		{Profile{User: true}, "RST", true},
		{Profile{User: true, OnRST: Delete}, "RST", false},
		{Profile{User: true, OnRST: DeleteAndBlock, BlockFor: time.Second}, "RST", false},
		{Profile{User: true}, "ICMP", true},
		{Profile{User: true, OnICMP: Delete}, "ICMP", false},
	}
	for _, tt := range tests {
		b := newBench(t, tt.p)
		b.send(syn, 1000, 0)
		_, in := b.arrive(errors[tt.err])
		b.want(tt.err+" itself", in, 1)
		if _, in := b.arrive(segment{flags: syn, seq: 9}); (len(in) == 1) != tt.passes {
			t.Errorf("%+v, %s: the peer's SYN passes %t", tt.p, tt.err, !tt.passes)
		}
		out, _ := b.send(syn, 2000, 0)
		if blocked := len(out) == 0; blocked != (tt.p.OnRST == DeleteAndBlock) {
			t.Errorf("%+v: our next SYN blocked %t", tt.p, blocked)
		}
	}
}

func TestUserNATFiltering(t *testing.T) {
	neighbour := netip.AddrPortFrom(remote.Addr(), 7)
	tests := []struct {
		f                Filtering
		neighbour, other int
	}{{APDF, 0, 0}, {ADF, 1, 0}, {EIF, 1, 1}}
	for _, tt := range tests {
		b := newBench(t, Profile{User: true, Filtering: tt.f})
		b.send(syn, 1, 0)
		_, in := b.arrive(segment{src: neighbour, flags: syn})
		b.want("another port", in, tt.neighbour)
		_, in = b.arrive(segment{src: other, flags: syn})
		b.want("another address", in, tt.other)
	}
}

func TestUserNATInboundAfterOutbound(t *testing.T) {
	for i, want := range [][2]int{AcceptInbound: {0, 1}, DropInbound: {0, 0}, ResetInbound: {1, 0}} {
		b := newBench(t, Profile{User: true, Inbound: Inbound(i)})
		b.send(syn, 1, 0)
		out, in := b.arrive(segment{flags: syn})
		b.want("back out", out, want[0])
		b.want("in", in, want[1])
	}
}

func TestUserNATMapping(t *testing.T) {
	neighbour := netip.AddrPortFrom(remote.Addr(), 7)
	for m, want := range [][2]bool{EIM: {true, true}, ADM: {true, false}, APDM: {false, false}} {
		b := newBench(t, Profile{User: true, Mapping: Mapping(m), Allocation: Sequential})
		at := b.nat.observed(remote)
		got := [2]bool{b.nat.observed(neighbour) == at, b.nat.observed(other) == at}
		if got != want {
			t.Errorf("mapping %d: the same for another port, another address: %v", m, got)
		}
	}
}

func TestLinkKeepsOrder(t *testing.T) {
	w := &world{}
	var got []uint32
	l := &link{w: w, rng: source(1, 1), delay: time.Millisecond, jitter: 50 * time.Millisecond, to: func(s segment) { got = append(got, s.seq) }}
	for i := range uint32(50) {
		w.at(time.Duration(i)*time.Millisecond, func() { l.send(segment{seq: i, ttl: hostTTL}) })
	}
	w.run(time.Minute, func() bool { return false })
	if len(got) != 50 || !slices.IsSorted(got) {
		t.Errorf("arrived as %v", got)
	}
}

// quietSYN lets a SYN with a TTL leave the host.
func (b *bench) quietSYN(ttl int, seq uint32) {
	b.out, b.in = nil, nil
	b.nat.fromInside(segment{src: inner, dst: remote, flags: syn, seq: seq, ttl: ttl})
}

func TestQuietSYNOpensTheNATItPassesAndNoOther(t *testing.T) {
	for _, name := range []string{"linux-open", "user-rst"} {
		b := newBench(t, profile(t, name))
		b.quietSYN(1, 1000)
		b.want(name+": a SYN that ends here", b.out, 0)
		if b.want("the ICMP error about it", b.in, 1); b.in[0].icmp != timeExceeded || b.in[0].quoted != 1 {
			t.Errorf("%s: %v", name, b.in)
		}
		_, in := b.arrive(segment{flags: syn, seq: 9})
		b.want("the peer's SYN after it", in, 0)

		b.quietSYN(2, 2000)
		if b.want(name+": a SYN that passes", b.out, 1); b.out[0].ttl != 1 {
			t.Errorf("%s: leaves with TTL %d", name, b.out[0].ttl)
		}
		_, in = b.arrive(segment{flags: syn, seq: 9})
		b.want("the peer's SYN after it", in, 1)
	}
}

// An inbound SYN that dies in a netfilter NAT has been tracked before: from then
// on only the socket that sent it can be answered.
func TestSYNThatDiesInTheNATHasChangedTheEntry(t *testing.T) {
	b := newBench(t, profile(t, "linux-drop"))
	b.send(syn, 1000, 0)
	out, in := b.arrive(segment{flags: syn, seq: 9, ttl: 1})
	b.want("to the host", in, 0)
	if b.want("the ICMP error", out, 1); out[0].icmp != timeExceeded {
		t.Errorf("%v", out)
	}
	_, in = b.arrive(segment{flags: syn, seq: 99999})
	b.want("a loud SYN of the peer's next dial", in, 0)
	out, _ = b.send(syn, 900000, 0)
	b.want("our next dial's SYN", out, 0)
}

func TestTimeExceededIsAnICMPErrorLikeAnother(t *testing.T) {
	for name, passes := range map[string]int{"linux-icmp": 1, "user-drop": 1, "user-icmp": 0} {
		b := newBench(t, profile(t, name))
		b.quietSYN(2, 1000)
		_, in := b.arrive(segment{icmp: timeExceeded, quoted: 1, seq: 1000})
		b.want(name+": the ICMP error", in, 1)
		_, in = b.arrive(segment{flags: syn, seq: 9})
		b.want(name+": the peer's SYN after it", in, passes)
	}
}

// A link is a router: the error comes back after the way there and back again.
func TestLinkUsesUpAHop(t *testing.T) {
	w := &world{}
	var there, back []segment
	l := &link{w: w, rng: source(1, 1), delay: 10 * time.Millisecond,
		to: func(s segment) { there = append(there, s) }, back: func(s segment) { back = append(back, s) }}
	l.send(segment{src: outer, dst: remote, flags: syn, seq: 7, ttl: 1})
	l.send(segment{src: outer, dst: remote, flags: syn, seq: 8, ttl: 2})
	w.run(time.Second, func() bool { return false })
	if len(there) != 1 || there[0].seq != 8 || there[0].ttl != 1 {
		t.Errorf("at the far end: %v", there)
	}
	if len(back) != 1 || back[0].seq != 7 || back[0].icmp != timeExceeded || back[0].dst != outer || w.now != 10*time.Millisecond {
		t.Errorf("back at %v: %v", w.now, back)
	}
}

// Behind two NATs a SYN needs one hop more.
func TestChainOfTwoNATs(t *testing.T) {
	for ttl, open := range map[int]int{2: 0, 3: 1} {
		b := &bench{t: t, w: &world{}}
		s := Side{NAT: profile(t, "linux-drop"), Carrier: profile(t, "linux-open")}
		b.nat = newChain(b.w, s, "A", inner, outer.Addr(),
			func(s segment) { b.in = append(b.in, s) }, func(s segment) { b.out = append(b.out, s) }, 1)
		b.quietSYN(ttl, 1000)
		b.want("beyond the carrier's NAT", b.out, open)
		_, in := b.arrive(segment{flags: syn, seq: 9})
		b.want("the peer's SYN", in, open)
	}
}
