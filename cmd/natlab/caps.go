package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
	"github.com/peerd/peerd/punch/natlab"
	"github.com/peerd/peerd/rendezvous"
)

// capsPart is the proof of what nodes may do on the wire.
var capsPart = claimsPart("caps", "Caps: what leaves a node, whoever lies to it",
	"A capture in front of each host's NAT counted its SYNs, and a poll every 20 ms the sockets that it held, listeners left out. The hostile server is a mock that speaks the real protocol; the nodes and the hostile peer's server are the real ones.", capClaims)

func capClaims() []claim {
	return []claim{
		{"caps, honest", "between honest nodes at most 100 SYNs in any second go to one address, 600 where ports are predicted or guessed; a node holds at most 600 sockets; and nothing goes to anybody else",
			nil, honestCaps},
		{"caps, hostile server", "the same holds of a node whose server lies: no private, local or multicast address, no gateway, and no third party that only a peer states gets a SYN",
			nil, hostileServerCaps},
		{"caps, guesses provoked", "a server that forges reports, and says each time that the node is in another network, gets a node to guess four times an hour at most, and within the caps",
			nil, provokedCaps},
		{"caps, hostile peer", "the same holds of a node with a peer that lies, and that asks for introductions as fast as the server lets it",
			nil, hostilePeerCaps},
	}
}

// cappedPair is a pair of honest nodes, and how fast SYNs may go to one address.
type cappedPair struct {
	cell cell
	rate int
	fate string // what is to become of it, as a test of the experiment
}

func cappedPairs() []cappedPair {
	known := [2]bool{true, true}
	return []cappedPair{
		{cell{A: "linux-drop", B: "linux-drop", RTT: 40 * time.Millisecond, Reports: known}, maxPlainRate, "direct"},
		{cell{A: "linux-open", B: "linux-open", RTT: 40 * time.Millisecond, Reports: known}, maxPlainRate, "direct"},
		{cell{A: "user-sym-seq", B: "user-sym-seq", RTT: 40 * time.Millisecond, Reports: known}, maxGuessRate, ""},
		{cell{A: "linux-random", B: "linux-drop", RTT: 40 * time.Millisecond, Reports: known}, maxGuessRate, ""},
		{cell{A: "linux-open", B: "user-sym-random", RTT: 40 * time.Millisecond, Reports: known}, maxGuessRate, ""},
		{cell{A: "linux-random", B: "user-sym-random", RTT: 40 * time.Millisecond, Reports: known}, maxPlainRate, "hopeless"},
	}
}

// honestCaps counts on both hosts of pairs that are plain, guessed or hopeless.
func honestCaps(ctx context.Context, g ground) (f finding, err error) {
	f.Table = &table{Head: slices.Concat([]string{"pair", "connected"}, wireHead)}
	var errs []error
	pairs := cappedPairs()
	if !g.whole {
		pairs = []cappedPair{pairs[1], pairs[3], pairs[5]}
	}
	for _, p := range pairs {
		for n := range figure(g, 1, 10) {
			if err := ctx.Err(); err != nil {
				return f, err
			}
			rows, err := p.run(uint64(n))
			f.Table.Rows = append(f.Table.Rows, rows...)
			errs = append(errs, err)
		}
	}
	return f, errors.Join(errs...)
}

func (p cappedPair) run(seed uint64) (rows [][]string, err error) {
	b, err := newBench(p.cell, seed)
	if err != nil {
		return nil, err
	}
	defer b.close()
	var counts [2]*wireCount
	for i, h := range []*natlab.Host{b.lab.A, b.lab.B} {
		if counts[i], err = countWire(h); err != nil {
			return nil, err
		}
	}
	o := b.run(0)
	fate := "direct"
	if o.Err != nil {
		fate = "hopeless"
	}
	var errs []error
	if p.fate != "" && fate != p.fate {
		errs = append(errs, fmt.Errorf("%v is %s: %w", p.cell, fate, o.Err))
	}
	server := []netip.Addr{b.lab.Server.Addr(), b.lab.Server.Alternate()}
	for i := range counts {
		u, err := counts[i].finish()
		may := append(slices.Clone(server), b.lab.A.PublicAddr(), b.lab.B.PublicAddr()) // its own, to see whether that leads back
		errs = append(errs, err, u.check(p.rate, func(a netip.Addr) bool { return slices.Contains(may, a) }))
		rows = append(rows, append([]string{p.cell.String(), fate}, u.row(counts[i].host.Name(), p.rate)...))
	}
	return rows, errors.Join(errs...)
}

// Third parties. One answers with a RST, since it is the lab's server; nobody has
// the others.
var (
	silentThird  = netip.MustParseAddr("198.51.100.77")
	peersThird   = netip.MustParseAddr("198.51.100.88") // that only candidates name
	neverObserve = []string{"127.0.0.1", "169.254.169.254", "224.0.0.1", "255.255.255.255", "10.1.2.3", "172.16.0.9", "192.168.1.1", "100.64.0.9", "::1", "ff02::1", "fe80::1", "fd00::1"}
)

// hostileHost is B of a lab, with a node that has authorised some peers.
type hostileHost struct {
	lab   *natlab.Lab
	agent *conductor
	keys  []*identity.Key // of the peers
}

func newHostileHost(peers int) (h *hostileHost, err error) {
	h = &hostileHost{}
	cfg, err := cell{A: "linux-drop", B: "linux-drop", RTT: 8 * time.Millisecond}.config(1)
	if err != nil {
		return nil, err
	}
	if h.lab, err = natlab.New(cfg); err != nil {
		return nil, err
	}
	for range peers {
		h.keys = append(h.keys, identity.Generate())
	}
	if h.agent, err = conduct(h.lab.B, 0); err != nil {
		h.lab.Close()
		return nil, err
	}
	return h, nil
}

func (h *hostileHost) names() (ids []proto.ID) {
	for _, k := range h.keys {
		ids = append(ids, k.ID())
	}
	return ids
}

// join registers the node with a server.
func (h *hostileHost) join(url proto.ServerURL) error {
	return h.agent.start(order{Op: "start", Server: url.String(), Answer: true, Allow: h.names()})
}

// spoken is whether a server that lies may get SYNs sent to an address.
func (h *hostileHost) spoken(a netip.Addr) bool {
	return slices.Contains([]netip.Addr{h.lab.Server.Addr(), h.lab.Server.Alternate(), silentThird, h.lab.A.PublicAddr(), h.lab.B.PublicAddr()}, a)
}

// aimed are the addresses that a server states as observed: those that may be
// dialled first, then those that must not be.
func (h *hostileHost) aimed() (list []netip.Addr) {
	list = []netip.Addr{h.lab.Server.Alternate(), silentThird, h.lab.A.PublicAddr(), h.lab.B.PublicAddr(), h.lab.B.Gateway(), h.lab.B.Addr()}
	for _, text := range neverObserve {
		list = append(list, netip.MustParseAddr(text))
	}
	return list
}

// claims are what a lying server says of a registration.
func (h *hostileHost) claims(observed netip.AddrPort, alternate netip.Addr) *proto.Registered {
	token := proto.NewToken()
	return &proto.Registered{
		Observed:   proto.NewCandidate(observed, proto.Observed, 0),
		ProbePorts: []uint16{1, 2, 3, 22, 23, 25, 80, 110, 143, 443, 445, 993, 995, 3306, 5432, 8080}, Alternate: alternate.AsSlice(),
		ProbeToken: token[:], SilentPort: 21, ClosedPort: 7,
	}
}

// candidates are a peer's lies: the host's own services and router, and third
// parties.
func (h *hostileHost) candidates(port uint16) (list []proto.Candidate) {
	for _, a := range []netip.Addr{h.lab.B.Gateway(), netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("224.0.0.1"), netip.MustParseAddr("169.254.169.254"),
		peersThird, netip.MustParseAddr("10.9.9.9"), netip.MustParseAddr("255.255.255.255"), netip.MustParseAddr("2001:db8::99")} {
		list = append(list, proto.NewCandidate(netip.AddrPortFrom(a, port), proto.Host, port))
	}
	return list
}

// hostileServerCaps has a server introduce everybody to everybody as fast as it
// can, without reports.
func hostileServerCaps(ctx context.Context, g ground) (f finding, err error) {
	h, err := newHostileHost(hostilePeers)
	if err != nil {
		return f, err
	}
	defer h.lab.Close()
	aims := h.aimed()
	l := &liar{
		names: h.names(),
		registered: func(int) *proto.Registered {
			return h.claims(netip.AddrPortFrom(h.lab.B.PublicAddr(), 4000), h.lab.Server.Alternate())
		},
		pause: leisure,
		transcribe: func(n int, t *proto.Transcript) {
			port := uint16(1 + n%65535)
			aim := aims[n%len(aims)]
			switch n / atOnceWithAll { // which is to have as many ports dialled as possible
			case 0:
				aim = h.lab.Server.Alternate()
			case 1:
				aim = silentThird
			}
			t.Initiator.Observed, t.Responder.Observed = observedAt(aim, port), observedAt(h.lab.B.PublicAddr(), 4000)
			if n%2 == 0 {
				t.Responder.Observed = observedAt(aim, 4000)
			}
			t.Initiator.Candidates = h.candidates(port)
			t.Responder.RTT = []uint32{1, 5_000_000, 0, 2_000_000}[n/atOnceWithAll%4]
		},
	}
	u, err := h.suffer(ctx, l, 0, figure(g, 4*time.Second, time.Minute))
	f.Text = fmt.Sprintf("%d introductions", l.met.Load())
	f.Table = &table{Head: wireHead, Rows: [][]string{u.row("B", maxPlainRate)}}
	return f, errors.Join(err, u.check(maxPlainRate, h.spoken))
}

// A node takes up four introductions of a peer at a time, and then gives up the
// oldest; 32 in all, and then no more. So with seven peers each new one counts.
const (
	hostilePeers  = 7
	atOnceWithAll = 4 * hostilePeers
)

// leisure lets a node carry out what it has taken up, or some of it, every now and
// then.
func leisure(n int) time.Duration {
	switch {
	case n%500 == atOnceWithAll, n%500 == 2*atOnceWithAll:
		return 1500 * time.Millisecond
	case n%500 < 400:
		return 2 * time.Millisecond
	}
	return 0
}

// suffer has the node bear a lying server for some time, or until it has registered
// so often.
func (h *hostileHost) suffer(ctx context.Context, l *liar, homes int64, lasts time.Duration) (u wireUse, err error) {
	if err := l.serve(h.lab); err != nil {
		return u, err
	}
	defer l.close()
	count, err := countWire(h.lab.B)
	if err != nil {
		return u, err
	}
	if err = h.join(l.url); err == nil {
		for end := time.Now().Add(lasts); time.Now().Before(end) && ctx.Err() == nil && (homes == 0 || l.homes.Load() <= homes); {
			time.Sleep(socketPoll) // the experiment, not a wait for something
		}
	}
	u, failed := count.finish()
	if err = errors.Join(err, failed); err == nil && l.met.Load() < atOnceWithAll {
		err = fmt.Errorf("only %d introductions have come about", l.met.Load())
	}
	if err == nil && len(u.syns[h.lab.Server.Alternate()])+len(u.syns[silentThird]) == 0 {
		err = errors.New("the capture saw no SYN to where there must be some")
	}
	return u, err
}

// maxGuessesAnHour is how many guesses a server may get out of a node that stays where
// it is.
const maxGuessesAnHour = 4

// provokedCaps has a server forge reports: windows of predicted ports, of either
// kind, and guesses, of other ports and from other ports, with round trips for which a
// dial is held long and repeated. It states another network with each registration.
func provokedCaps(ctx context.Context, g ground) (f finding, err error) {
	h, err := newHostileHost(hostilePeers)
	if err != nil {
		return f, err
	}
	defer h.lab.Close()
	third, err := listenSilently(h.lab.Server, netip.AddrPortFrom(h.lab.Server.Alternate(), 8443))
	if err != nil {
		return f, err
	}
	defer third.close()
	l := &liar{
		names: h.names(), most: atOnceWithAll + 8,
		pause: func(n int) time.Duration { // so that each guess begins, and the first goes on
			if n == 2*atOnceWithAll+8 {
				return 3 * time.Second // the dials to the third party are late
			}
			if n%(atOnceWithAll+8) == atOnceWithAll {
				return time.Second / time.Duration(1+n/(atOnceWithAll+8))
			}
			return 0
		},
		registered: func(n int) *proto.Registered {
			return h.claims(netip.AddrPortFrom(netip.AddrFrom4([4]byte{198, 51, 100, byte(n)}), 4000), silentThird)
		},
		transcribe: func(n int, t *proto.Transcript) {
			t.Initiator.Observed, t.Responder.Observed = observedAt(silentThird, uint16(1+n%65535)), observedAt(h.lab.B.PublicAddr(), 4000)
			t.Responder.RTT = []uint32{5_000_000, 1, 1_200_000}[n/atOnceWithAll%3]
			t.Initiator.NAT, t.Responder.NAT = forgedReports(n)
			if n%forgedKinds == completingKind {
				t.Initiator.Observed = observedAt(third.addr.Addr(), third.addr.Port())
			}
		},
	}
	u, err := h.suffer(ctx, l, figure[int64](g, maxGuessesAnHour+1, 12), figure(g, time.Minute, 2*time.Minute))
	guesses, told := h.guessed()
	f.Text = fmt.Sprintf("%d introductions in %d registrations, %d guesses; %d connections to a third party, the longest with %d bytes", l.met.Load(), l.homes.Load(), guesses, third.met.Load(), third.most.Load())
	f.Table = &table{Head: wireHead, Rows: [][]string{u.row("B", maxGuessRate)}}
	if third.met.Load() == 0 || third.most.Load() > proto.PreambleSize {
		err = errors.Join(err, fmt.Errorf("%d connections to a third party, the longest with %d bytes", third.met.Load(), third.most.Load()))
	}
	if homes := int(l.homes.Load()); homes <= maxGuessesAnHour || guesses < 1 || guesses > maxGuessesAnHour {
		err = errors.Join(err, fmt.Errorf("%d guesses in %d registrations, %d are the most", guesses, homes, maxGuessesAnHour))
	}
	return f, errors.Join(err, told, u.check(maxGuessRate, h.spoken))
}

// guessed counts the guesses that the node has begun.
func (h *hostileHost) guessed() (n int, err error) {
	if err := h.agent.say(order{Op: "events"}); err != nil {
		return 0, err
	}
	r, err := h.agent.await("events")
	return r.Guesses, err
}

// forgedReports are those of both sides in the n-th lie.
func forgedReports(n int) (a, b *proto.NATReport) {
	still := func() *proto.NATReport {
		return &proto.NATReport{Mapping: proto.MappingEndpointIndependent, Allocation: proto.AllocationPreserving,
			Filtering: proto.FilteringAddressPortDependent, Unsolicited: proto.AnswerDropped, Crossing: proto.AnswerAccepted, OnReset: proto.PolicyDelete}
	}
	changing := func(a proto.NATAllocation) *proto.NATReport {
		r := still()
		r.Mapping, r.Allocation, r.Delta, r.Background = proto.MappingAddressPortDependent, a, 1, 400_000
		r.Samples, r.Age = []uint16{uint16(1024 + n*199%60000)}, uint32(n%1000)
		return r
	}
	strict := changing(proto.AllocationRandom)
	strict.Crossing = proto.AnswerDropped
	poisoned, proxied := still(), changing(proto.AllocationRandom)
	poisoned.Poisoned, proxied.Proxied = proto.TruthYes, proto.TruthYes
	switch n % forgedKinds {
	case 0:
		return changing(proto.AllocationRandom), still()
	case 1:
		return still(), changing(proto.AllocationRandom)
	case completingKind:
		return poisoned, proxied
	case 3:
		return strict, still()
	case 4:
		return changing(proto.AllocationSequential), changing(proto.AllocationSequential)
	case 5:
		return changing(proto.AllocationSequential), still()
	}
	return proxied, poisoned
}

// In the lies of completingKind the node's dials are completed by a proxy, it is said, and
// by a third party in fact. Each registration begins with another kind, the second with
// this one.
const (
	forgedKinds    = 7
	completingKind = 2
)

// hostilePeerCaps has a peer lie in all that it can state, through an honest server.
func hostilePeerCaps(ctx context.Context, g ground) (f finding, err error) {
	h, err := newHostileHost(1)
	if err != nil {
		return f, err
	}
	defer h.lab.Close()
	url, err := startHub(h.lab)
	if err != nil {
		return f, err
	}
	count, err := countWire(h.lab.B)
	if err != nil {
		return f, err
	}
	if err := h.join(url); err != nil {
		return f, err
	}
	asked, granted := h.pester(ctx, url, figure(g, 4*time.Second, time.Minute))
	u, err := count.finish()
	guesses, told := h.guessed()
	f.Text = fmt.Sprintf("%d requests, %d introductions, %d guesses", asked, granted, guesses)
	f.Table = &table{Head: wireHead, Rows: [][]string{u.row("B", maxGuessRate)}}
	may := []netip.Addr{h.lab.Server.Addr(), h.lab.Server.Alternate(), h.lab.A.PublicAddr()}
	if granted == 0 || guesses != 1 {
		err = errors.Join(err, fmt.Errorf("%d introductions and %d guesses", granted, guesses))
	}
	return f, errors.Join(err, told, u.check(maxGuessRate, func(a netip.Addr) bool { return slices.Contains(may, a) }))
}

// pester has A ask for introductions to B, one after the other, each with another
// lie. It goes no further with any.
func (h *hostileHost) pester(ctx context.Context, url proto.ServerURL, lasts time.Duration) (asked, granted int) {
	ctx, cancel := context.WithTimeout(ctx, lasts)
	defer cancel()
	var lie atomic.Int64
	client := rendezvous.NewClient(rendezvous.ClientConfig{
		Server: url, Key: h.keys[0], Instance: proto.NewToken(),
		Dial: func(ctx context.Context) (net.Conn, error) { return h.lab.A.Dial(ctx, url.HostPort()) },
		Report: func() *proto.NATReport {
			own, _ := forgedReports(int(lie.Load()))
			return own
		},
	})
	ended := make(chan struct{})
	go func() { defer close(ended); client.Run(ctx) }()
	defer func() { cancel(); <-ended }()
	for ctx.Err() == nil {
		lie.Add(1)
		asked++
		if _, err := client.Introduce(ctx, h.agent.id, h.candidates(uint16(1+asked))); err == nil {
			granted++
		}
	}
	return asked, granted
}
