package nat

import (
	"context"
	"errors"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerd/peerd/proto"
)

// model is a NAT, the server beyond it and a host that listens behind it, as far as
// measuring sees them.
type model struct {
	none        bool // no NAT
	mapping     proto.NATMapping
	allocate    func(n int, inside uint16) uint16 // the outside port of the n-th mapping
	addresses   int                               // outside ones, used in turn; 0 is one
	filtering   proto.NATFiltering
	unsolicited proto.NATAnswer
	crossing    proto.NATAnswer
	onReset     proto.NATErrorPolicy
	hairpin     proto.NATAnswer
	proxy       bool
	routers     []netip.Addr
	noBench     bool
	poisoned    bool            // a SYN that comes before the dial takes the port
	mute        bool            // the server does not dial back this time
	closed      map[uint16]bool // ports of the server that do not answer
	lost        map[int]bool    // connections that do not come about until the SYN is repeated
	// stray is this host's address towards others than the server's first address, or
	// after it has moved towards all; home if zero.
	stray, moved netip.Addr

	mu       sync.Mutex
	inside   uint16
	mappings map[[2]netip.AddrPort]netip.AddrPort
	been     map[[2]netip.AddrPort]bool // outside endpoints and the addresses that they were used for
	opened   map[netip.AddrPort]bool    // outside ones, by a dial to the silent port
	spoilt   map[netip.AddrPort]bool    // knocked before they were opened
	refused  map[netip.AddrPort]bool    // inside ports whose SYN the closed port has refused
	made     int                        // connections
	open     int                        // benches
	backs    int
}

const modelRTT = 40 * time.Millisecond

var (
	homeAddr   = netip.MustParseAddr("192.168.1.10")
	serverAddr = netip.MustParseAddr("203.0.113.10")
	secondAddr = netip.MustParseAddr("203.0.113.20")
	silentPort = netip.AddrPortFrom(serverAddr, 40001)
	closedPort = netip.AddrPortFrom(serverAddr, 40002)
	homePort   = netip.AddrPortFrom(homeAddr, 5000)
)

// outsideOf returns the outside endpoint of a connection.
func (w *model) outsideOf(inside, to netip.AddrPort) netip.AddrPort {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.made++
	if w.none {
		return inside
	}
	key := [2]netip.AddrPort{inside, to}
	switch w.mapping {
	case proto.MappingEndpointIndependent:
		key[1] = netip.AddrPort{}
	case proto.MappingAddressDependent:
		key[1] = netip.AddrPortFrom(to.Addr(), 0)
	}
	if w.mappings == nil {
		w.mappings, w.refused = make(map[[2]netip.AddrPort]netip.AddrPort), make(map[netip.AddrPort]bool)
		w.been = make(map[[2]netip.AddrPort]bool)
	}
	if _, known := w.mappings[key]; !known || w.mapping == proto.MappingPerConnection {
		addr := outside
		if n := len(w.mappings); w.addresses > 1 && n%w.addresses > 0 {
			addr = addr.Next()
		}
		w.mappings[key] = netip.AddrPortFrom(addr, w.allocate(w.made, inside.Port()))
	}
	out := w.mappings[key]
	w.been[[2]netip.AddrPort{out, netip.AddrPortFrom(to.Addr(), 0)}] = true
	return out
}

func (w *model) fresh() netip.AddrPort {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.inside += 7
	return netip.AddrPortFrom(homeAddr, 50000+w.inside)
}

func (w *model) Look(ctx context.Context, ownPort bool, to []netip.AddrPort, seen func(Sight)) []Sight {
	sights := make([]Sight, len(to))
	began := time.Now()
	var late []int
	for i, at := range to {
		from := homePort
		if !ownPort {
			from = w.fresh()
		}
		sights[i] = Sight{To: at, Inside: w.leaving(from, at), Outside: w.outsideOf(from, at), At: began.Add(time.Duration(i) * time.Millisecond), RTT: modelRTT}
		if w.closed[at.Port()] || w.lost[w.made] {
			late = append(late, i)
		}
	}
	pass(ctx, 2*modelRTT)
	for i, s := range sights {
		if !slices.Contains(late, i) {
			seen(s)
		}
	}
	if len(late) == 0 {
		return sights
	}
	intime := pass(ctx, time.Second)
	for _, i := range late {
		if !intime || w.closed[to[i].Port()] {
			sights[i].Outside = netip.AddrPort{}
		}
		seen(sights[i])
	}
	if intime && slices.ContainsFunc(late, func(i int) bool { return w.closed[to[i].Port()] }) {
		pass(ctx, time.Second-2*modelRTT)
	}
	return sights
}

// leaving is from where a connection is made.
func (w *model) leaving(from, to netip.AddrPort) netip.AddrPort {
	switch {
	case w.moved.IsValid():
		return netip.AddrPortFrom(w.moved, from.Port())
	case w.stray.IsValid() && to.Addr() != serverAddr:
		return netip.AddrPortFrom(w.stray, from.Port())
	}
	return from
}

// pass waits, and reports whether ctx was still alive then.
func pass(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

func (w *model) DialBack(ctx context.Context, from proto.DialBackFrom, to netip.AddrPort) proto.NATAnswer {
	if w.mute {
		return proto.AnswerUnknown
	}
	w.mu.Lock()
	w.backs++
	w.mu.Unlock()
	answer := w.back(from, to)
	if d := modelRTT; !pass(ctx, map[bool]time.Duration{false: 2 * d, true: 2*d + patience}[answer == proto.AnswerDropped]) {
		return proto.AnswerUnknown
	}
	return answer
}

// back is what a SYN of the server meets.
func (w *model) back(from proto.DialBackFrom, to netip.AddrPort) proto.NATAnswer {
	near := from != proto.FromAlternate || w.filtering == proto.FilteringAddressDependent && w.hasBeenAt(secondAddr, to)
	switch {
	case w.filtering == proto.FilteringEndpointIndependent, near && w.filtering == proto.FilteringAddressDependent:
		return proto.AnswerAccepted
	case from == proto.FromSilent && w.opens(to):
		return w.crossing
	case from == proto.FromClosed && w.onReset == proto.PolicyKeep:
		return w.crossing
	}
	return w.unsolicited
}

// opens reports whether a SYN of the silent port comes after one to it, and none came
// before that where it matters.
func (w *model) opens(to netip.AddrPort) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.opened[to] {
		if w.spoilt == nil {
			w.spoilt = make(map[netip.AddrPort]bool)
		}
		w.spoilt[to] = w.poisoned
	}
	return w.opened[to] && !w.spoilt[to]
}

// hasBeenAt reports whether a connection to an address comes from an outside endpoint.
func (w *model) hasBeenAt(addr netip.Addr, outside netip.AddrPort) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.been[[2]netip.AddrPort{outside, netip.AddrPortFrom(addr, 0)}]
}

func (w *model) Hops(context.Context, netip.AddrPort) []netip.Addr {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.made += 6
	return w.routers
}

func (w *model) Bench(ctx context.Context, to netip.AddrPort) (Bench, error) {
	if w.noBench {
		return nil, errors.ErrUnsupported
	}
	w.mu.Lock()
	w.open++
	w.mu.Unlock()
	from := w.fresh()
	s := Sight{To: to, Inside: from, Outside: w.outsideOf(from, to), RTT: modelRTT}
	pass(ctx, 2*modelRTT)
	return &modelBench{w, s}, nil
}

type modelBench struct {
	w *model
	s Sight
}

func (b *modelBench) Sight() Sight { return b.s }

func (b *modelBench) Close() {
	b.w.mu.Lock()
	defer b.w.mu.Unlock()
	b.w.open--
}

func (b *modelBench) Dial(to netip.AddrPort) func(context.Context) proto.NATAnswer {
	out := b.w.outsideOf(b.s.Inside, to)
	if to == silentPort {
		b.w.punch(out)
	}
	answer := b.w.meets(b.s.Inside, to)
	return func(ctx context.Context) proto.NATAnswer {
		if answer == proto.AnswerDropped {
			<-ctx.Done()
		} else {
			pass(ctx, modelRTT)
		}
		return answer
	}
}

// punch notes a dial to the silent port.
func (w *model) punch(outside netip.AddrPort) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.opened == nil {
		w.opened = make(map[netip.AddrPort]bool)
	}
	w.opened[outside] = true
}

// meets is what a SYN of a bench does.
func (w *model) meets(from, to netip.AddrPort) proto.NATAnswer {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.proxy && to.Addr() == serverAddr:
		return proto.AnswerAccepted
	case to == closedPort && w.refused[from] && w.onReset == proto.PolicyBlock:
		return proto.AnswerDropped
	case to == closedPort:
		if w.refused == nil {
			w.refused = make(map[netip.AddrPort]bool)
		}
		w.refused[from] = true
		return proto.AnswerReset
	case to.Addr() == serverAddr:
		return proto.AnswerDropped
	}
	return w.hairpin
}

// config is what a node in mode shared has with a server that has two addresses.
func (w *model) config() Config {
	return Config{
		Net:    w,
		Home:   Sight{To: netip.AddrPortFrom(serverAddr, 7878), Inside: homePort, Outside: w.outsideOf(homePort, netip.AddrPortFrom(serverAddr, 7878))},
		Near:   []netip.AddrPort{netip.AddrPortFrom(serverAddr, 7879), netip.AddrPortFrom(serverAddr, 7880)},
		Far:    []netip.AddrPort{netip.AddrPortFrom(secondAddr, 7879), netip.AddrPortFrom(secondAddr, 7880)},
		Silent: silentPort, Closed: closedPort,
		DialsBack: true, Alternate: true, OwnPort: true, Listens: true,
	}
}

func keep(_ int, inside uint16) uint16 { return inside }
func count(n int, _ uint16) uint16     { return uint16(30000 + n) }
func jump(n int, _ uint16) uint16      { return uint16(1024 + n*40503%allPorts) }

// home is an ordinary good router.
func home() *model {
	return &model{
		mapping: proto.MappingEndpointIndependent, allocate: keep, filtering: proto.FilteringAddressPortDependent,
		unsolicited: proto.AnswerDropped, crossing: proto.AnswerAccepted, onReset: proto.PolicyDelete, hairpin: proto.AnswerReset,
		routers: []netip.Addr{netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("203.0.113.254")},
	}
}

// homeReport is what is to be found out about it.
func homeReport() proto.NATReport {
	return proto.NATReport{
		Mapping: proto.MappingEndpointIndependent, Allocation: proto.AllocationPreserving, Confidence: 100,
		Pooling: proto.PoolingPaired, Filtering: proto.FilteringAddressPortDependent, Unsolicited: proto.AnswerDropped,
		Crossing: proto.AnswerAccepted, OnReset: proto.PolicyDelete, Hairpin: proto.AnswerReset, Hops: 2, Proxied: proto.TruthNo,
		Poisoned: proto.TruthNo,
	}
}

// measured measures a model in virtual time.
func measured(t *testing.T, w *model, change func(*Config)) (r Result) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		cfg := w.config()
		if change != nil {
			change(&cfg)
		}
		var err error
		if r, err = Measure(t.Context(), cfg); err != nil {
			t.Error(err)
		}
		limit := 2 * time.Second
		if w.onReset == proto.PolicyBlock || w.poisoned {
			limit += 500 * time.Millisecond // which is tried twice
		}
		if w.made > 40 || w.open != 0 || r.Took > limit {
			t.Errorf("%d connections, %d benches left, %v", w.made, w.open, r.Took)
		}
	})
	return r
}

func TestMeasure(t *testing.T) {
	for name, c := range map[string]struct {
		nat    func(*model)
		change func(*Config)
		want   func(*proto.NATReport)
		why    []Field
	}{
		"an ordinary NAT": {nil, nil, nil, nil},
		"that answers RST": {func(w *model) { w.unsolicited = proto.AnswerReset }, nil,
			func(r *proto.NATReport) { r.Unsolicited = proto.AnswerReset }, nil},
		"that keeps what was reset": {func(w *model) { w.onReset = proto.PolicyKeep }, nil,
			func(r *proto.NATReport) { r.OnReset = proto.PolicyKeep }, nil},
		"that blocks what was reset": {func(w *model) { w.onReset = proto.PolicyBlock }, nil,
			func(r *proto.NATReport) { r.OnReset = proto.PolicyBlock }, nil},
		"whose mapping an early SYN takes": {func(w *model) { w.poisoned = true }, nil,
			func(r *proto.NATReport) { r.Poisoned = proto.TruthYes }, nil},
		"that drops crossing SYNs": {func(w *model) { w.crossing = proto.AnswerDropped }, nil,
			func(r *proto.NATReport) { r.Crossing, r.OnReset, r.Poisoned = proto.AnswerDropped, 0, 0 }, []Field{FieldOnReset, FieldPoisoned}},
		"with several addresses": {func(w *model) { w.addresses = 2 }, nil,
			func(r *proto.NATReport) { r.Pooling = proto.PoolingArbitrary }, nil},
		"with hairpinning": {func(w *model) { w.hairpin = proto.AnswerAccepted }, nil,
			func(r *proto.NATReport) { r.Hairpin = proto.AnswerAccepted }, nil},
		"without hairpinning": {func(w *model) { w.hairpin = proto.AnswerDropped }, nil,
			func(r *proto.NATReport) { r.Hairpin = proto.AnswerDropped }, nil},
		"that lets the address in": {func(w *model) { w.filtering = proto.FilteringAddressDependent }, nil,
			func(r *proto.NATReport) { r.Filtering, r.OnReset = proto.FilteringAddressDependent, 0 }, []Field{FieldOnReset}},
		"that lets everybody in": {func(w *model) { w.filtering = proto.FilteringEndpointIndependent }, nil,
			func(r *proto.NATReport) {
				r.Filtering, r.OnReset, r.Unsolicited = proto.FilteringEndpointIndependent, 0, 0
			}, []Field{FieldOnReset, FieldUnsolicited}},
		"address-dependent": {func(w *model) { w.mapping, w.allocate = proto.MappingAddressDependent, count }, nil,
			func(r *proto.NATReport) {
				r.Mapping, r.Allocation, r.Delta, r.Confidence = proto.MappingAddressDependent, proto.AllocationSequential, 1, 99
				r.Samples = []uint16{30002, 30003, 30004, 30005, 30006, 30007, 30008, 30009}
			}, nil},
		"in sequence": {func(w *model) { w.mapping, w.allocate = proto.MappingAddressPortDependent, count }, nil,
			func(r *proto.NATReport) {
				r.Mapping, r.Allocation, r.Delta, r.Confidence = proto.MappingAddressPortDependent, proto.AllocationSequential, 1, 99
				r.Samples = []uint16{30002, 30003, 30004, 30005, 30006, 30007, 30008, 30009}
				r.Crossing, r.OnReset, r.Poisoned = 0, 0, 0
			}, []Field{FieldCrossing, FieldOnReset, FieldPoisoned}},
		"no NAT": {func(w *model) {
			w.none, w.filtering, w.hairpin = true, proto.FilteringEndpointIndependent, proto.AnswerAccepted
		}, nil,
			func(r *proto.NATReport) {
				*r = proto.NATReport{Mapping: proto.MappingNone, Allocation: proto.AllocationPreserving, Confidence: 100,
					Filtering: proto.FilteringEndpointIndependent, Crossing: proto.AnswerAccepted, Hairpin: proto.AnswerAccepted, Hops: 1, Proxied: proto.TruthNo, Poisoned: proto.TruthNo}
			}, []Field{FieldPooling, FieldUnsolicited, FieldOnReset}},
		"a proxy": {func(w *model) { w.proxy = true }, nil,
			func(r *proto.NATReport) { r.Proxied, r.OnReset = proto.TruthYes, 0 }, []Field{FieldOnReset}},
		"a carrier's NAT, too": {func(w *model) {
			w.routers = []netip.Addr{netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("100.64.0.1"), netip.MustParseAddr("203.0.113.254")}
		}, nil, func(r *proto.NATReport) { r.Hops = 3 }, nil},

		"a server with one address": {nil, func(c *Config) { c.Far, c.Alternate = nil, false },
			func(r *proto.NATReport) { r.Mapping = 0 }, []Field{FieldMapping}},
		"a server with one address, everybody let in": {func(w *model) { w.filtering = proto.FilteringEndpointIndependent },
			func(c *Config) { c.Far, c.Alternate = nil, false },
			func(r *proto.NATReport) { r.Mapping, r.Filtering, r.Unsolicited, r.OnReset = 0, 0, 0, 0 },
			[]Field{FieldMapping, FieldFiltering, FieldUnsolicited, FieldOnReset}},
		"a server that does not dial back": {nil, func(c *Config) {
			c.DialsBack, c.Alternate, c.Silent, c.Closed = false, false, netip.AddrPort{}, netip.AddrPort{}
		}, func(r *proto.NATReport) {
			r.Filtering, r.Unsolicited, r.Crossing, r.OnReset, r.Proxied, r.Poisoned = 0, 0, 0, 0, 0, 0
		}, []Field{FieldPoisoned, FieldFiltering, FieldUnsolicited, FieldCrossing, FieldOnReset, FieldProxied}},
		"a server that was asked too often": {func(w *model) { w.mute = true }, nil, func(r *proto.NATReport) {
			r.Filtering, r.Unsolicited, r.Crossing, r.OnReset, r.Poisoned = 0, 0, 0, 0, 0
		}, []Field{FieldPoisoned, FieldFiltering, FieldUnsolicited, FieldCrossing, FieldOnReset}},
		"a port without a listener": {func(w *model) { w.noBench = true }, func(c *Config) { c.Listens = false }, func(r *proto.NATReport) {
			r.Crossing, r.OnReset, r.Hairpin, r.Proxied, r.Poisoned = 0, 0, 0, 0, 0
		}, []Field{FieldPoisoned, FieldCrossing, FieldOnReset, FieldHairpin, FieldProxied}},
		// Its own port has been to the other address, so that this is no stranger's there.
		"fresh ports that fail, the address let in": {func(w *model) { w.noBench, w.filtering = true, proto.FilteringAddressDependent }, nil, func(r *proto.NATReport) {
			r.Filtering, r.Unsolicited, r.Crossing, r.OnReset, r.Hairpin, r.Proxied, r.Poisoned = 0, 0, 0, 0, 0, 0, 0
		}, []Field{FieldPoisoned, FieldFiltering, FieldUnsolicited, FieldCrossing, FieldOnReset, FieldHairpin, FieldProxied}},
		"one socket at a time": {func(w *model) { w.noBench, w.unsolicited = true, proto.AnswerReset },
			func(c *Config) { c.Listens, c.OwnPort = false, false },
			func(r *proto.NATReport) {
				*r = proto.NATReport{Allocation: proto.AllocationPreserving, Confidence: 100, Pooling: proto.PoolingPaired, Hops: 2}
			}, []Field{FieldPoisoned, FieldMapping, FieldFiltering, FieldUnsolicited, FieldCrossing, FieldOnReset, FieldHairpin, FieldProxied}},
	} {
		w, want := home(), homeReport()
		if c.nat != nil {
			c.nat(w)
		}
		if c.want != nil {
			c.want(&want)
		}
		got := measured(t, w, c.change)
		if !reflect.DeepEqual(got.NATReport, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", name, got.NATReport, want)
		}
		why := slices.Clone(c.why)
		slices.Sort(why)
		if found := slices.Sorted(maps.Keys(got.Why)); !slices.Equal(found, why) {
			t.Errorf("%s: unknown are %v, want %v", name, found, why)
		}
		for field, text := range got.Why {
			if text == "" {
				t.Errorf("%s: no reason for %s", name, field)
			}
		}
	}
}

// Random ports are not taken for anything else, whatever mapping there is.
func TestMeasureRandomPorts(t *testing.T) {
	for _, mapping := range []proto.NATMapping{proto.MappingAddressPortDependent, proto.MappingPerConnection} {
		w := home()
		w.mapping, w.allocate = mapping, jump
		got := measured(t, w, nil)
		if got.Mapping != mapping || got.Allocation != proto.AllocationRandom || len(got.Samples) != samples || got.Sampled.IsZero() {
			t.Errorf("%v: %+v", mapping, got.NATReport)
		}
	}
}

func TestMeasureEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for after := time.Duration(0); after < 600*time.Millisecond; after += 20 * time.Millisecond {
			w := home()
			ctx, cancel := context.WithTimeout(t.Context(), after)
			if _, err := Measure(ctx, w.config()); err != nil && !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("after %v: %v", after, err)
			}
			cancel()
			if w.open != 0 {
				t.Errorf("after %v: %d benches are left", after, w.open)
			}
		}
	})
}

func TestMeasureNeedsAServer(t *testing.T) {
	w := home()
	cfg := w.config()
	cfg.Near, cfg.Far = nil, nil
	if _, err := Measure(t.Context(), cfg); !errors.Is(err, ErrNoServer) {
		t.Error(err)
	}
}

// A firewall in front of the probe ports is not taken for a NAT of which nothing shows:
// that would count as known from then on.
func TestMeasureSilentServer(t *testing.T) {
	for name, find := range map[string]func(context.Context, Config) (Result, error){"measured": Measure, "glimpsed": Glimpse} {
		synctest.Test(t, func(t *testing.T) {
			w := home()
			w.closed = map[uint16]bool{7879: true, 7880: true}
			began := time.Now()
			if r, err := find(t.Context(), w.config()); !errors.Is(err, ErrNoServer) {
				t.Errorf("%s: %+v, %v", name, r.NATReport, err)
			}
			if took := time.Since(began); took > 5*time.Second || w.open != 0 {
				t.Errorf("%s: %v, %d benches left", name, took, w.open)
			}
		})
	}
	w := home()
	w.none, w.closed, w.filtering = true, map[uint16]bool{7879: true, 7880: true}, proto.FilteringEndpointIndependent
	synctest.Test(t, func(t *testing.T) {
		r, err := Measure(t.Context(), w.config())
		want := proto.NATReport{Mapping: proto.MappingNone, Filtering: proto.FilteringEndpointIndependent, Hops: 1}
		if err != nil || !reflect.DeepEqual(r.NATReport, want) || r.Took > 6*time.Second {
			t.Errorf("without a NAT: %+v, %v, %v", r.NATReport, r.Took, err)
		}
	})
}

// Where one of two probe ports does not answer, the other one will do.
func TestMeasureWithTheOtherPort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, want := home(), homeReport()
		w.closed = map[uint16]bool{7879: true}
		w.made = 0
		if r, err := Measure(t.Context(), w.config()); err != nil || !reflect.DeepEqual(r.NATReport, want) {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// What goes another way, through a VPN for instance, says nothing of the NATs on this
// one; and what is measured in another network says nothing of where the node is
// registered from.
func TestMeasureFromAnotherAddress(t *testing.T) {
	w := home()
	w.mapping, w.stray = proto.MappingAddressDependent, netip.MustParseAddr("10.9.9.9")
	if got := measured(t, w, nil); got.Mapping != proto.MappingUnknown {
		t.Errorf("with servers elsewhere behind a VPN: mapping %v", got.Mapping)
	}
	for name, find := range map[string]func(context.Context, Config) (Result, error){"measured": Measure, "glimpsed": Glimpse} {
		synctest.Test(t, func(t *testing.T) {
			w := home()
			w.moved = netip.MustParseAddr("172.20.10.2")
			if r, err := find(t.Context(), w.config()); !errors.Is(err, ErrMoved) {
				t.Errorf("%s: %+v, %v", name, r.NATReport, err)
			}
		})
	}
}

// What is found out in a hurry, with how many connections and in how many round
// trips.
func TestGlimpse(t *testing.T) {
	changing := func(w *model) { w.mapping = proto.MappingAddressPortDependent }
	for name, c := range map[string]struct {
		nat     func(*model)
		want    proto.NATReport
		samples int
		made    int
		took    time.Duration
	}{
		"an ordinary NAT": {func(*model) {}, proto.NATReport{Mapping: proto.MappingEndpointIndependent}, 0, 4, 2 * modelRTT},
		"a carrier's, that changes ports once": {func(w *model) { w.allocate = jump },
			proto.NATReport{Mapping: proto.MappingEndpointIndependent}, 0, 4, 2 * modelRTT},
		"in sequence": {func(w *model) { changing(w); w.allocate = count },
			proto.NATReport{Mapping: proto.MappingAddressPortDependent, Allocation: proto.AllocationSequential, Delta: 1, Confidence: 99}, 8, 12, 6*modelRTT + othersTime},
		"at random": {func(w *model) { changing(w); w.allocate = jump },
			proto.NATReport{Mapping: proto.MappingAddressPortDependent, Allocation: proto.AllocationRandom, Confidence: 100}, 8, 12, 6*modelRTT + othersTime},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := home()
				c.nat(w)
				cfg := w.config()
				w.made = 0
				r, err := Glimpse(t.Context(), cfg)
				if err != nil {
					t.Fatal(err)
				}
				if len(r.Samples) != c.samples || r.Sampled.IsZero() != (c.samples == 0) || w.made != c.made || r.Took > c.took {
					t.Errorf("%d samples, %d connections, %v", len(r.Samples), w.made, r.Took)
				}
				r.Samples = nil
				if !reflect.DeepEqual(r.NATReport, c.want) {
					t.Errorf("%+v", r.NATReport)
				}
			})
		})
	}
	if _, err := Glimpse(t.Context(), Config{}); !errors.Is(err, ErrNoServer) {
		t.Error(err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if _, err := Glimpse(ended, home().config()); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestNeedsSamples(t *testing.T) {
	for _, test := range []struct {
		mapping    proto.NATMapping
		allocation proto.NATAllocation
		want       bool
	}{
		{proto.MappingAddressPortDependent, proto.AllocationSequential, true},
		{proto.MappingAddressDependent, proto.AllocationSequential, true},
		{proto.MappingPerConnection, proto.AllocationBlock, true},
		{proto.MappingAddressPortDependent, proto.AllocationRandom, false},
		{proto.MappingAddressPortDependent, proto.AllocationPreserving, false},
		{proto.MappingEndpointIndependent, proto.AllocationSequential, false}, // a plain NAT
		{proto.MappingEndpointIndependent, proto.AllocationBlock, false},
		{proto.MappingNone, proto.AllocationPreserving, false},
		{proto.MappingUnknown, proto.AllocationUnknown, false},
	} {
		r := Result{NATReport: proto.NATReport{Mapping: test.mapping, Allocation: test.allocation}}
		if got := r.NeedsSamples(); got != test.want {
			t.Errorf("%v, %v: %v", test.mapping, test.allocation, got)
		}
	}
}

func TestResample(t *testing.T) {
	for name, c := range map[string]struct {
		lost []int
		want []uint16
		took time.Duration
	}{
		"all":                 {nil, []uint16{30001, 30002, 30003, 30004, 30005, 30006, 30007, 30008}, 2 * modelRTT},
		"one lost":            {[]int{3}, []uint16{30001, 30002, 30004, 30005, 30006, 30007, 30008}, 2*modelRTT + Late(modelRTT)},
		"the last lost":       {[]int{8}, []uint16{30001, 30002, 30003, 30004, 30005, 30006, 30007}, 2*modelRTT + Late(modelRTT)},
		"all but three lost":  {[]int{1, 2, 5, 6, 8}, []uint16{30003, 30004, 30007}, 2*modelRTT + Late(modelRTT)},
		"too many lost":       {[]int{1, 2, 3, 4, 5, 6}, []uint16{30001, 30002, 30003, 30004, 30005, 30006, 30007, 30008}, 2*modelRTT + time.Second},
		"first and last lost": {[]int{1, 8}, []uint16{30002, 30003, 30004, 30005, 30006, 30007}, 2*modelRTT + Late(modelRTT)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := home()
				w.allocate, w.lost = count, make(map[int]bool)
				for _, n := range c.lost {
					w.lost[n] = true
				}
				r := Result{NATReport: proto.NATReport{Mapping: proto.MappingAddressPortDependent, Allocation: proto.AllocationSequential, Samples: []uint16{1}}}
				began := time.Now()
				r.Resample(t.Context(), w, netip.AddrPortFrom(serverAddr, 7879))
				if took := time.Since(began); !slices.Equal(r.Samples, c.want) || r.Sampled.IsZero() || took != c.took {
					t.Errorf("%v after %v", r.Samples, took)
				}
			})
		})
	}
}

// A glimpse does not wait for what is lost, and infers the same of the rest.
func TestGlimpseOfALossyPath(t *testing.T) {
	for lost := range 12 {
		synctest.Test(t, func(t *testing.T) {
			w := home()
			w.mapping, w.allocate = proto.MappingAddressPortDependent, count
			cfg := w.config()
			w.lost = map[int]bool{w.made + lost + 1: true}
			r, err := Glimpse(t.Context(), cfg)
			if err != nil || r.Mapping != proto.MappingAddressPortDependent || r.Allocation != proto.AllocationSequential || r.Delta != 1 || r.Background > 0 {
				t.Errorf("connection %d lost: %+v, %v", lost, r.NATReport, err)
			}
			if most := 6*modelRTT + othersTime + Late(modelRTT); r.Took > most {
				t.Errorf("connection %d lost: %v, want at most %v", lost, r.Took, most)
			}
		})
	}
}
