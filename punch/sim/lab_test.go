package sim

import (
	"net/netip"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch/nat"
	"github.com/peerd/peerd/punch/natlab"
)

// The simulator has every profile of the lab, and each looks the same from outside.
func TestProfilesAreTheLabs(t *testing.T) {
	var lab, here []string
	for _, p := range natlab.Profiles() {
		lab = append(lab, p.Name)
	}
	for _, p := range Profiles() {
		here = append(here, p.Name)
	}
	slices.Sort(lab)
	slices.Sort(here)
	if !slices.Equal(lab, here) {
		t.Errorf("the lab has %q, the simulator %q", lab, here)
	}
	for name, want := range natlab.Expectations() {
		p := profile(t, name)
		if got := look(p); got != want {
			t.Errorf("%s: %v\nin the lab: %v", name, got, want)
		}
		if reported, real := p.Shared, labProfile(t, name).Shared; uint8(reported) != uint8(real) {
			t.Errorf("%s is shared %d, in the lab %d", name, reported, real)
		}
	}
	for old, name := range natlab.Aliases() {
		if aliases[old] != name {
			t.Errorf("%s is %q here and %q in the lab", old, aliases[old], name)
		}
	}
}

func labProfile(t *testing.T, name string) natlab.Profile {
	p, err := natlab.ProfileByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// What a userspace NAT can do in the lab is in one struct. Each field of it is one of
// Profile, or what the doc of this package says.
func TestUserNATsAreTheLabs(t *testing.T) {
	for _, lab := range natlab.Profiles() {
		if lab.NAT == nil {
			continue
		}
		n := *lab.NAT
		want := Profile{
			Name: lab.Name, User: true, Mapping: Mapping(n.Mapping), Filtering: Filtering(n.Filtering), Inbound: Inbound(n.InboundAfterOutbound),
			OnRST: ErrorPolicy(n.OnRST), OnICMP: ErrorPolicy(n.OnICMP), BlockFor: n.BlockFor, Answer: Answer(n.Unsolicited.Answer),
			After: n.Unsolicited.After, Limited: n.Unsolicited.Rate > 0, Hairpin: Hairpin(n.Hairpin), Pooling: Pooling(n.Pooling), Addresses: n.Addresses,
			Allocation: [...]Allocation{natlab.Preserving: Preserving, natlab.Sequential: Sequential, natlab.Random: Random, natlab.Block: Block}[n.Allocation.Kind],
			Delta:      n.Allocation.Delta, Background: n.Allocation.Background, Size: n.Allocation.Size, Parity: n.Allocation.Parity, Fallback: Fallback(n.Allocation.Fallback),
			Tracking: [...]Tracking{natlab.Liberal: UsualTracking, natlab.Strict: Strict, natlab.RewriteISN: RewriteISN}[n.Tracking],
			Quota:    Quota{n.Quota.Ports, n.Quota.Sessions, n.Quota.SYNs, n.Quota.Burst}, SynSent: n.SynSent, Established: n.Established, ExpiredRST: n.ExpiredRST,
		}
		if got := profile(t, lab.Name); !reflect.DeepEqual(got, want) {
			t.Errorf("%+v\nin the lab: %+v", got, want)
		}
	}
	known := []string{"Mapping", "Allocation", "Filtering", "Addresses", "Pooling", "Unsolicited", "InboundAfterOutbound", "OnRST", "OnICMP", "BlockFor",
		"Tracking", "Quota", "Hairpin", "Isolated", "SynSent", "Established", "ExpiredRST", "Delay", "Jitter", "Loss"}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[natlab.NAT]()) {
		if !slices.Contains(known, f.Name) {
			t.Errorf("nothing is known here of natlab.NAT.%s", f.Name)
		}
	}
}

// looker is one NAT, or several, before a network that shows what comes out.
type looker struct {
	n       *network
	out, in []segment
}

func newLooker(p Profile) *looker {
	l := &looker{n: newNet(Case{A: Side{NAT: p}, B: Side{NAT: p}, Near: true})}
	l.n.a.way.to = func(s segment) { l.out = append(l.out, s) }
	l.n.a.way.server = l.n.a.way.to
	l.n.a.nat.connected().deliver = func(s segment) { l.in = append(l.in, s) }
	return l
}

// after lets time pass.
func (l *looker) after(d time.Duration) {
	end := l.n.w.now + d
	l.n.w.run(end, func() bool { return false })
	l.n.w.now = end
}

func (l *looker) local(port uint16) netip.AddrPort {
	return netip.AddrPortFrom(l.n.a.host.addr.Addr(), port)
}

// leaves has the host send a segment, and returns it as it came out; false if it did
// not.
func (l *looker) leaves(s segment) (segment, bool) {
	if s.ttl == 0 {
		s.ttl = hostTTL
	}
	before := len(l.out)
	l.n.a.nat.fromInside(s)
	l.after(time.Millisecond)
	if len(l.out) == before {
		return segment{}, false
	}
	return l.out[before], true
}

func (l *looker) syn(port uint16, to netip.AddrPort) netip.AddrPort {
	out, _ := l.leaves(segment{src: l.local(port), dst: to, flags: syn, seq: 1000})
	return out.src
}

// meets sends a segment to the NAT and returns what becomes of it.
func (l *looker) meets(s segment) natlab.Answer {
	s.ttl = hostTTL
	in, out := len(l.in), len(l.out)
	l.n.a.nat.fromOutside(s)
	l.after(time.Millisecond)
	switch {
	case len(l.in) > in:
		return natlab.Accepted
	case len(l.out) == out:
		return natlab.Silent
	case l.out[out].icmp != noICMP:
		return natlab.Unreachable
	}
	return natlab.Reset
}

var (
	distant   = netip.MustParseAddrPort("192.0.2.77:7000")
	sameHost  = netip.AddrPortFrom(distant.Addr(), 7001)
	elsewhere = netip.MustParseAddrPort("192.0.2.99:7000")
)

// look finds out what the lab's probe does of a profile.
func look(p Profile) (b natlab.Behaviour) {
	l := newLooker(p)
	if l.leaves(segment{src: l.local(5000), dst: distant, flags: syn, seq: 1, ttl: 1}); len(l.in) > 0 && l.in[0].flags == syn|ack {
		return natlab.Behaviour{Terminated: true, Translated: true, Mapping: natlab.PerConnection, Allocation: natlab.Random, InboundAfterOutbound: lookAtProxy(p)}
	}
	for _, f := range []func(Profile, *natlab.Behaviour){lookAtHops, lookAtMapping, lookAtPorts, lookAtFiltering, lookAtAnswers, lookAtErrors, lookAtHairpin, lookAtNumbers, lookAtTime} {
		f(p, &b)
	}
	return b
}

func lookAtProxy(p Profile) natlab.Answer {
	l := newLooker(p)
	l.leaves(segment{src: l.local(5000), dst: distant, flags: syn, seq: 1})
	l.leaves(segment{src: l.local(5000), dst: distant, flags: ack, seq: 2, ack: l.in[0].seq + 1})
	l.after(10 * time.Millisecond)
	out := len(l.out)
	l.meets(segment{src: distant, dst: l.out[0].src, flags: syn, seq: 9})
	if len(l.out) > out && l.out[out].flags == syn|ack {
		return natlab.Accepted
	}
	return natlab.Silent
}

func lookAtHops(p Profile, b *natlab.Behaviour) {
	l := newLooker(p)
	for ttl := 1; ; ttl++ {
		if _, left := l.leaves(segment{src: l.local(5000), dst: distant, flags: syn, seq: 1, ttl: ttl}); left {
			b.NATs = ttl - 1
			return
		}
	}
}

func lookAtMapping(p Profile, b *natlab.Behaviour) {
	l := newLooker(p)
	first, port, addr := l.syn(5000, distant), l.syn(5000, sameHost), l.syn(5000, elsewhere)
	b.Translated = first != l.local(5000)
	// A connection comes and goes.
	l.meets(segment{src: distant, dst: first, flags: syn | ack, seq: 9, ack: 1001})
	l.leaves(segment{src: l.local(5000), dst: distant, flags: ack, seq: 1001, ack: 10})
	l.leaves(segment{src: l.local(5000), dst: distant, flags: rst, seq: 1001})
	l.after(time.Second)
	out, _ := l.leaves(segment{src: l.local(5000), dst: distant, flags: syn, seq: 9e6})
	switch {
	case out.src != first:
		b.Mapping = natlab.PerConnection
	case port != first:
		b.Mapping = natlab.APDM
	case addr != first:
		b.Mapping = natlab.ADM
	}
}

func lookAtPorts(p Profile, b *natlab.Behaviour) {
	l := newLooker(p)
	var list []nat.Sight
	for i := range uint16(16) {
		if i == 8 {
			pass(l.n.a.nat, 200*time.Millisecond)
		}
		list = append(list, nat.Sight{Inside: l.local(5000 + i), Outside: l.syn(5000+i, distant), At: epoch.Add(l.n.w.now)})
		if b.Pooling = natlab.Paired; list[0].Outside.Addr() != list[i].Outside.Addr() {
			b.Pooling = natlab.Arbitrary
			break
		}
	}
	if b.Pooling == natlab.Arbitrary {
		b.Allocation = natlab.Random // of one address there are too few
		return
	}
	a := nat.InferAllocation(list)
	b.Allocation = map[proto.NATAllocation]natlab.AllocationKind{
		proto.AllocationPreserving: natlab.Preserving, proto.AllocationSequential: natlab.Sequential,
		proto.AllocationRandom: natlab.Random, proto.AllocationBlock: natlab.Block,
	}[a.Kind]
	b.Background = a.Background > 0
}

func lookAtFiltering(p Profile, b *natlab.Behaviour) {
	l := newLooker(p)
	switch at := l.syn(5000, distant); {
	case l.meets(segment{src: elsewhere, dst: at, flags: syn, seq: 9}) == natlab.Accepted:
		b.Filtering = natlab.EIF
	case l.meets(segment{src: sameHost, dst: at, flags: syn, seq: 9}) == natlab.Accepted:
		b.Filtering = natlab.ADF
	}
	l = newLooker(p)
	at := l.syn(5000, distant)
	b.InboundAfterOutbound = l.meets(segment{src: distant, dst: at, flags: syn, seq: 9})
}

func lookAtAnswers(p Profile, b *natlab.Behaviour) {
	l := newLooker(p)
	at := netip.AddrPortFrom(l.syn(5000, distant).Addr(), 999)
	if !p.translates() {
		b.Unsolicited = natlab.Reset // by the host itself
		return
	}
	if b.Unsolicited = l.meets(segment{src: elsewhere, dst: at, flags: syn, seq: 9}); b.Unsolicited == natlab.Silent {
		if l.after(7 * time.Second); len(l.out) > 1 {
			b.Unsolicited, b.Late = natlab.Unreachable, true
		}
		return
	}
	for range 100 {
		b.Limited = b.Limited || l.meets(segment{src: elsewhere, dst: at, flags: syn, seq: 9}) == natlab.Silent
	}
}

func lookAtErrors(p Profile, b *natlab.Behaviour) {
	if b.InboundAfterOutbound != natlab.Accepted {
		return
	}
	after := func(s segment) natlab.ErrorPolicy {
		l := newLooker(p)
		s.src, s.dst = distant, l.syn(5000, distant)
		l.meets(s)
		if l.meets(segment{src: distant, dst: s.dst, flags: syn, seq: 9}) == natlab.Accepted {
			return natlab.Keep
		}
		if l.syn(5000, distant).IsValid() {
			return natlab.Delete
		}
		return natlab.DeleteAndBlock
	}
	b.OnRST = after(segment{flags: rst | ack, ack: 1001})
	b.OnICMP = after(segment{icmp: timeExceeded, seq: 1000})
}

func lookAtHairpin(p Profile, b *natlab.Behaviour) {
	if !p.translates() {
		b.Hairpin = natlab.Accepted // by the host itself
		return
	}
	l := newLooker(p)
	one, two := l.syn(5000, distant), l.syn(6000, distant)
	l.leaves(segment{src: l.local(5000), dst: two, flags: syn, seq: 1000})
	l.leaves(segment{src: l.local(6000), dst: one, flags: syn, seq: 1000})
	switch {
	case len(l.in) == 0:
	case l.in[0].flags&rst != 0:
		b.Hairpin = natlab.Reset
	default:
		b.Hairpin = natlab.Accepted
	}
}

func lookAtNumbers(p Profile, b *natlab.Behaviour) {
	l := newLooker(p)
	out, _ := l.leaves(segment{src: l.local(5000), dst: distant, flags: syn, seq: 1000})
	switch {
	case out.seq != 1000:
		b.Tracking = natlab.RewriteISN
	case b.InboundAfterOutbound == natlab.Accepted:
		l.meets(segment{src: distant, dst: out.src, flags: syn, seq: 9})
		if _, left := l.leaves(segment{src: l.local(5000), dst: distant, flags: syn | ack, seq: 9e6, ack: 10}); !left {
			b.Tracking = natlab.Strict
		}
	}
	l = newLooker(p)
	_, left := l.leaves(segment{src: l.local(5000), dst: distant, flags: ack, seq: 1000, ack: 10})
	b.ExpiredRST = !left && len(l.in) > 0
	if b.Mapping == natlab.EIM && b.Translated {
		l = newLooker(p)
		at := l.syn(5000, elsewhere)
		l.meets(segment{src: distant, dst: at, flags: syn, seq: 9})
		b.Poisoned = l.syn(5000, distant) != at
	}
}

func lookAtTime(p Profile, b *natlab.Behaviour) {
	if b.InboundAfterOutbound == natlab.Accepted {
		l := newLooker(p)
		at := l.syn(5000, distant)
		l.after(7 * time.Second)
		b.ShortSYN = l.meets(segment{src: distant, dst: at, flags: syn, seq: 9}) != natlab.Accepted
	}
	l := newLooker(p)
	for i := range uint16(600) {
		if !l.syn(5000+i, distant).IsValid() {
			b.Bounded = true
		}
	}
}
