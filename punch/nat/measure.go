package nat

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/peerd/peerd/proto"
)

// Net is what measuring needs of the outside world.
type Net interface {
	// Look connects to endpoints of a server, one for each sight that is wanted and
	// with their SYNs leaving in that order, asks there from where the connections
	// are seen, and resets them all. They come from the node's own port or else each
	// from a fresh one. Each sight is also passed to seen, from any goroutine, as soon
	// as it is there; connections without one when ctx ends have failed.
	Look(ctx context.Context, ownPort bool, to []netip.AddrPort, seen func(Sight)) []Sight
	// Bench takes a fresh port that is used like the node's own, and connects from
	// there to an endpoint of the server, which is told whose connection it is. The
	// error is errors.ErrUnsupported if ports cannot be used like that.
	Bench(ctx context.Context, to netip.AddrPort) (Bench, error)
	// DialBack has the server send one SYN to an endpoint that this node has now,
	// and returns what it met; unknown if that was not possible.
	DialBack(ctx context.Context, from proto.DialBackFrom, to netip.AddrPort) proto.NATAnswer
	// Hops returns the addresses of the routers on the way to an endpoint, the
	// nearest first, and the endpoint's own behind the last; invalid ones for those
	// that do not answer. None says that the system does not tell.
	Hops(ctx context.Context, to netip.AddrPort) []netip.Addr
}

// Bench is a fresh local port with a listener, and a connection to the server that
// lasts until Close.
type Bench interface {
	// Sight is that of the connection.
	Sight() Sight
	// Dial sends a SYN from the port; answer waits for what it meets, which is that
	// it is dropped if ctx ends before.
	Dial(to netip.AddrPort) (answer func(ctx context.Context) proto.NATAnswer)
	// Close ends all that is on the port.
	Close()
}

// Config says where there is what to measure with.
type Config struct {
	Net Net
	// Home is the registration's connection.
	Home Sight
	// Near are the server's endpoints that answer STUN at the address of the
	// registration, besides its own; Far are those at other addresses.
	Near, Far []netip.AddrPort
	// Silent and Closed are endpoints of the server at the registration's address of
	// which one answers no SYN and the other one with a RST; zero if there are none.
	Silent, Closed netip.AddrPort
	// DialsBack says that the server sends SYNs on request, and Alternate that it
	// does so from another address, too.
	DialsBack, Alternate bool
	// OwnPort says that the node's own port can be dialled from while it is
	// registered, and Listens that it has a listener.
	OwnPort, Listens bool
}

// Field names a part of a report.
type Field string

// The fields, called as in the report's JSON.
const (
	FieldMapping     Field = "mapping"
	FieldAllocation  Field = "allocation"
	FieldPooling     Field = "pooling"
	FieldFiltering   Field = "filtering"
	FieldUnsolicited Field = "unsolicited"
	FieldCrossing    Field = "crossing"
	FieldOnReset     Field = "on_reset"
	FieldPoisoned    Field = "poisoned"
	FieldHairpin     Field = "hairpin"
	FieldHops        Field = "hops"
	FieldProxied     Field = "proxied"
)

// Result is what Measure has found out.
type Result struct {
	proto.NATReport
	// Why says of the fields that are unknown why they are.
	Why map[Field]string
	// Partial says that something is unknown which may not be so the next time: an
	// answer did not come, or the server kept to a limit.
	Partial bool
	// Sampled is when the newest of the samples was made.
	Sampled time.Time
	// At is when it was finished, and Took how long it took.
	At   time.Time
	Took time.Duration
}

const (
	// samples is how many mappings the allocation is inferred from.
	samples = 8
	// othersTime is for how long it is watched what others take of a sequence, or for
	// two round trips if that is longer: at 50 a second that makes five.
	othersTime = 100 * time.Millisecond
	// patience is how long an answer may take beyond the round trip.
	patience = 300 * time.Millisecond
)

// ErrNoServer is returned by Measure and Glimpse if there is a NAT and no further
// port of the server answers.
var ErrNoServer = errors.New("no further port of the server answers STUN")

// ErrMoved is returned by Measure and Glimpse if this host has another address
// towards the server than the registration: what is measured from there is not what
// peers of the registration meet.
var ErrMoved = errors.New("this host's address has changed since it registered")

// Measure finds out what the NATs do. It makes 15 to 25 connections in a second
// or two, and none to anybody but the server and what Config names. If ctx ends,
// its error is returned.
func Measure(ctx context.Context, cfg Config) (Result, error) {
	m := &measuring{cfg: cfg, began: time.Now(), why: make(map[Field]string)}
	if len(cfg.Near) == 0 && len(cfg.Far) == 0 && cfg.Home.Inside != cfg.Home.Outside {
		return Result{}, ErrNoServer
	}
	for _, step := range []func(context.Context){m.allocate, m.look, m.knock, m.reset} {
		step(ctx)
		if err := cmp.Or(ctx.Err(), m.failure()); err != nil {
			m.close()
			return Result{}, err
		}
	}
	m.close()
	return m.result(), nil
}

// Resample makes fresh mappings to one endpoint of a server, for a prediction right
// before a punch, and puts them into the result. It does not wait for those that are
// late, and changes nothing if too few come about.
func (r *Result) Resample(ctx context.Context, n Net, to netip.AddrPort) {
	sights := hurriedLook(ctx, n, false, repeat(to, samples), Enough)
	if ports := portsOf(sights); len(ports) >= leastSamples {
		r.Samples, r.Sampled = ports, sights[len(sights)-1].At
	}
}

// NeedsSamples reports whether a prediction needs to know the latest mappings: not
// where the one that the server sees is everybody's, nor where nothing follows from
// them.
func (r *Result) NeedsSamples() bool {
	return changes(r.Mapping) && (r.Allocation == proto.AllocationSequential || r.Allocation == proto.AllocationBlock)
}

func repeat(to netip.AddrPort, n int) (list []netip.AddrPort) {
	for range n {
		list = append(list, to)
	}
	return list
}

// measuring is one run of Measure.
type measuring struct {
	cfg   Config
	began time.Time
	rtt   time.Duration // to the server
	hurry bool          // what is lost is not awaited

	deaf    bool    // no further port of the server answers
	moved   bool    // this host has another address towards the server now
	strayed bool    // or towards others
	fresh   []Sight // from fresh ports to one endpoint
	views   views
	benches []Bench

	mu       sync.Mutex // of what knock does at the same time
	report   proto.NATReport
	why      map[Field]string
	partial  bool // one of these is noAnswers or the like
	knocks   knocks
	silent   proto.NATAnswer // what a SYN to the silent port met here
	early    proto.NATAnswer // what one from there met before this host's own
	late     proto.NATAnswer // and after it
	closed   proto.NATAnswer
	benchErr error
}

// allocate makes mappings from fresh ports, before anything else of this node's can
// come between. There is a pause in the middle, in which it shows what others take
// of a sequence.
func (m *measuring) allocate(ctx context.Context) {
	at, ok := m.begin(ctx)
	if !ok {
		return
	}
	select {
	case <-time.After(othersTime - time.Since(m.fresh[0].At)):
	case <-ctx.Done():
		return
	}
	m.fresh = append(m.fresh, m.see(ctx, false, repeat(at, samples/2))...)
	for _, s := range m.fresh {
		if s.ok() && (m.rtt == 0 || s.RTT < m.rtt) {
			m.rtt = s.RTT
		}
	}
}

// begin makes the first mappings, at the first endpoint that answers. The others
// are passed over from then on; only at its own address is there a second try.
func (m *measuring) begin(ctx context.Context) (at netip.AddrPort, ok bool) {
	list := m.cfg.Near
	if len(list) == 0 {
		list = m.cfg.Far[:min(len(m.cfg.Far), 1)]
	}
	for i, at := range list[:min(len(list), 2)] {
		if m.fresh = m.see(ctx, false, repeat(at, samples/2)); m.heard(m.fresh) {
			if len(m.cfg.Near) > 0 {
				m.cfg.Near = m.cfg.Near[i:]
			}
			return at, true
		}
	}
	return at, false
}

// see looks. A sight from another address of this host is none: it has gone another
// way, through a VPN for instance, and past other NATs.
func (m *measuring) see(ctx context.Context, ownPort bool, to []netip.AddrPort) []Sight {
	sights := m.connect(ctx, ownPort, to)
	home := m.cfg.Home
	if home.Inside == home.Outside {
		return sights
	}
	for i, s := range sights {
		if !s.ok() || s.Inside.Addr() == home.Inside.Addr() {
			continue
		}
		sights[i].Outside = netip.AddrPort{}
		m.strayed = true
		m.moved = m.moved || s.To.Addr() == home.To.Addr()
	}
	return sights
}

// connect looks, in a hurry or not. Of the connections from the node's own port one to
// each address shows whether its mapping is everybody's.
func (m *measuring) connect(ctx context.Context, ownPort bool, to []netip.AddrPort) []Sight {
	switch {
	case !m.hurry:
		return m.cfg.Net.Look(ctx, ownPort, to, func(Sight) {})
	case ownPort:
		return hurriedLook(ctx, m.cfg.Net, ownPort, to, 1)
	}
	return hurriedLook(ctx, m.cfg.Net, ownPort, to, Enough)
}

// heard notes whether the first connections have shown anything.
func (m *measuring) heard(first []Sight) bool {
	m.deaf = !slices.ContainsFunc(first, Sight.ok)
	return !m.deaf
}

// failure is why there is nothing to be found out, or nil. Where there is no NAT, what
// the server dials back shows something without its further ports, too.
func (m *measuring) failure() error {
	switch {
	case m.moved:
		return ErrMoved
	case m.deaf && m.cfg.Home.Inside != m.cfg.Home.Outside:
		return ErrNoServer
	}
	return nil
}

// look looks from the node's own port at different endpoints, and at one of them
// twice if that can make a difference.
func (m *measuring) look(ctx context.Context) {
	m.lookAround(ctx)
	if any, same := compare(m.views.first, m.views.near[:min(len(m.views.near), 1)]); any && !same {
		m.views.again = m.see(ctx, true, m.cfg.Near[:1])[0]
	}
}

// lookAround looks once at each endpoint.
func (m *measuring) lookAround(ctx context.Context) {
	m.views = views{first: m.cfg.Home}
	if !m.cfg.OwnPort || m.deaf {
		return
	}
	near := min(len(m.cfg.Near), 2)
	seen := m.see(ctx, true, append(m.cfg.Near[:near:near], m.cfg.Far...))
	m.views.near, m.views.far = seen[:near], seen[near:]
}

// wait is for how long an answer is awaited that takes a number of round trips.
func (m *measuring) wait(ctx context.Context, trips int) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, time.Duration(trips)*m.rtt+patience)
}

// knock has the server send SYNs to the node's own mapping and to that of a fresh
// port that waits for one, tries what the NAT does with its own outside address,
// and counts routers: all at the same time, for none gets in another's way.
func (m *measuring) knock(ctx context.Context) {
	m.knocks.listens = m.cfg.Listens
	m.bench(ctx)
	var tasks sync.WaitGroup
	if m.cfg.DialsBack {
		tasks.Go(func() { m.knockAtHome(ctx) })
	}
	if len(m.benches) > 0 {
		tasks.Go(func() { m.cross(ctx, m.benches[0]) })
		tasks.Go(func() { m.hairpin(ctx) })
	}
	if len(m.benches) > 2 {
		tasks.Go(func() { m.poison(ctx, m.benches[2]) })
	}
	tasks.Go(func() { m.count(ctx) })
	tasks.Wait()
}

// knockAtHome has the server send SYNs to the node's own mapping; but those from the
// other address to that of a fresh port, because the node's own has been to that
// address, which a filter may remember. That two of them are dropped is no accident;
// what only one met is looked at again.
func (m *measuring) knockAtHome(ctx context.Context) {
	home := m.cfg.Home.Outside
	strange, ok := m.strange()
	if !ok {
		m.knocks.near = m.dialBack(ctx, proto.FromOtherPort, home)
		return
	}
	var tasks sync.WaitGroup
	tasks.Go(func() { m.knocks.near = m.cfg.Net.DialBack(ctx, proto.FromOtherPort, home) })
	tasks.Go(func() { m.knocks.far = m.cfg.Net.DialBack(ctx, proto.FromAlternate, strange) })
	tasks.Wait()
	if k := &m.knocks; k.near != k.far {
		k.near = m.again(ctx, k.near, proto.FromOtherPort, home)
		k.far = m.again(ctx, k.far, proto.FromAlternate, strange)
	}
}

// strange returns an outside endpoint of this host that has never been to the
// server's other address, if there is one.
func (m *measuring) strange() (outside netip.AddrPort, ok bool) {
	if n := min(len(m.benches), 2); n > 0 {
		return m.benches[n-1].Sight().Outside, m.cfg.Alternate
	}
	return m.cfg.Home.Outside, m.cfg.Alternate && len(m.views.far) == 0
}

// bench takes three fresh ports: the third is the one whose SYN to the silent port is not the
// first.
func (m *measuring) bench(ctx context.Context) {
	if len(m.cfg.Near) == 0 || m.deaf {
		m.benchErr = ErrNoServer
		return
	}
	var benches [3]Bench
	var errs [3]error
	var tasks sync.WaitGroup
	for i := range benches {
		tasks.Go(func() { benches[i], errs[i] = m.cfg.Net.Bench(ctx, m.cfg.Near[0]) })
	}
	tasks.Wait()
	m.benchErr = errors.Join(errs[:]...)
	for i, b := range benches {
		if errs[i] == nil {
			m.benches = append(m.benches, b)
		}
	}
}

func (m *measuring) close() {
	for _, b := range m.benches {
		b.Close()
	}
}

// cross sends a SYN that nothing answers, and has the server send one the other
// way.
func (m *measuring) cross(ctx context.Context, b Bench) {
	if !m.cfg.Silent.IsValid() {
		return
	}
	crossing, met := m.crossOnce(ctx, b)
	if crossing == proto.AnswerDropped {
		crossing, met = m.crossOnce(ctx, b)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.report.Crossing = crossing
	// A dial that the server has met is connected, too.
	if crossing != proto.AnswerAccepted {
		m.silent = met
	}
}

// crossOnce returns what the server's SYN has met, and this host's. Each try has a
// SYN of its own from here: an answer that comes too late ends the one before.
func (m *measuring) crossOnce(ctx context.Context, b Bench) (crossing, met proto.NATAnswer) {
	answer := b.Dial(m.cfg.Silent)
	if m.cfg.DialsBack && m.known() {
		crossing = m.cfg.Net.DialBack(ctx, proto.FromSilent, b.Sight().Outside)
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	return crossing, answer(over)
}

// poison has the server send a SYN before this host's own, and another one after it.
// Who is let in by the second one alone has lost nothing to the first.
func (m *measuring) poison(ctx context.Context, b Bench) {
	if !m.cfg.Silent.IsValid() || !m.cfg.DialsBack || !m.known() {
		return
	}
	early, late := m.cfg.Net.DialBack(ctx, proto.FromSilent, b.Sight().Outside), proto.AnswerUnknown
	if early != proto.AnswerAccepted && early != proto.AnswerUnknown {
		late, _ = m.crossOnce(ctx, b)
	}
	if late == proto.AnswerDropped { // it may just be lost
		late, _ = m.crossOnce(ctx, b)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.early, m.late = early, late
}

// known reports whether a port's mapping is the same towards all ports of the
// server's address, so that its outside endpoint is known before there is an
// answer.
func (m *measuring) known() bool {
	any, same := compare(m.views.first, m.views.near)
	return any && same
}

// hairpin has two fresh ports dial each other's outside endpoint.
func (m *measuring) hairpin(ctx context.Context) {
	if len(m.benches) < 2 {
		return
	}
	ctx, cancel := m.wait(ctx, 1)
	defer cancel()
	one, two := m.benches[0], m.benches[1]
	first, second := one.Dial(two.Sight().Outside), two.Dial(one.Sight().Outside)
	answers := []proto.NATAnswer{first(ctx), second(ctx)}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.report.Hairpin = hairpinOf(answers)
}

// hairpinOf tells what a SYN meets by two that go opposite ways: the first may have
// met a NAT that did not know the other's port yet.
func hairpinOf(answers []proto.NATAnswer) proto.NATAnswer {
	found := proto.AnswerUnknown
	for _, a := range answers {
		switch {
		case a == proto.AnswerAccepted:
			return a
		case a != proto.AnswerUnknown && (found == proto.AnswerUnknown || found == proto.AnswerDropped):
			found = a
		}
	}
	return found
}

// count asks the routers on the way for their addresses.
func (m *measuring) count(ctx context.Context) {
	to := append(append([]netip.AddrPort{}, m.cfg.Near...), m.cfg.Far...)
	if len(to) == 0 || m.deaf {
		return
	}
	ctx, cancel := m.wait(ctx, 1)
	defer cancel()
	routers := m.cfg.Net.Hops(ctx, to[0])
	hops := hopsOf(routers, m.cfg.Home.Outside.Addr())
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.report.Hops = hops; hops == 0 && len(routers) == 0 {
		m.why[FieldHops] = "this system does not tell which routers are on the way"
	}
}

// reset has a fresh port's SYN answered with a RST, and the server send one from
// there.
func (m *measuring) reset(ctx context.Context) {
	if len(m.benches) < 2 || !m.cfg.Closed.IsValid() {
		return
	}
	b := m.benches[1]
	if m.closed = m.dial(ctx, b); m.closed != proto.AnswerReset || !m.cfg.DialsBack || !m.known() {
		return
	}
	if m.report.Crossing != proto.AnswerAccepted {
		return // what is let in by nothing cannot show what is left
	}
	back := m.dialBack(ctx, proto.FromClosed, b.Sight().Outside)
	repeated := m.dial(ctx, b)
	if repeated == proto.AnswerDropped { // it may just be late
		repeated = m.dial(ctx, b)
	}
	m.report.OnReset = onResetOf(back, unsolicitedOf(m.knocks), m.report.Crossing, filteringOf(m.knocks), repeated)
}

// dialBack has the server send a SYN, and another one if that seems to be dropped:
// it may just be lost, or answered late.
func (m *measuring) dialBack(ctx context.Context, from proto.DialBackFrom, to netip.AddrPort) proto.NATAnswer {
	return m.again(ctx, m.cfg.Net.DialBack(ctx, from, to), from, to)
}

// again repeats what seems to have been dropped.
func (m *measuring) again(ctx context.Context, answer proto.NATAnswer, from proto.DialBackFrom, to netip.AddrPort) proto.NATAnswer {
	if answer != proto.AnswerDropped {
		return answer
	}
	if again := m.cfg.Net.DialBack(ctx, from, to); again != proto.AnswerUnknown {
		return again
	}
	return answer
}

// dial dials the closed port. It waits for long, because an answer is sure to come
// unless something is in the way, and not for a second, when the SYN is repeated.
func (m *measuring) dial(ctx context.Context, b Bench) proto.NATAnswer {
	ctx, cancel := context.WithTimeout(ctx, min(m.rtt+400*time.Millisecond, 900*time.Millisecond))
	defer cancel()
	return b.Dial(m.cfg.Closed)(ctx)
}

// result infers the report, and says why what is unknown is so.
func (m *measuring) result() Result {
	r := &m.report
	r.Mapping = mappingOf(m.views)
	all := append(append(append([]Sight{m.views.first, m.views.again}, m.views.near...), m.views.far...), m.fresh...)
	for _, b := range m.benches {
		all = append(all, b.Sight())
	}
	r.Pooling = poolingOf(all)
	m.allocation(InferAllocation(m.fresh))
	r.Filtering, r.Unsolicited = filteringOf(m.knocks), unsolicitedOf(m.knocks)
	r.Proxied = proxiedOf(m.closed, m.silent)
	r.Poisoned = poisonedOf(m.early, m.late, r.Crossing)
	if r.Mapping == proto.MappingNone {
		r.Hops = 1
		delete(m.why, FieldHops)
	}
	m.explain()
	return m.found()
}

// found is the report and when it was made.
func (m *measuring) found() Result {
	r := Result{NATReport: m.report, Why: m.why, Partial: m.partial, At: time.Now(), Took: time.Since(m.began)}
	if len(r.Samples) > 0 {
		r.Sampled = m.fresh[len(m.fresh)-1].At
	}
	return r
}

// allocation fills in what was found about the ports.
func (m *measuring) allocation(a Allocation) {
	r := &m.report
	r.Allocation, r.Delta, r.Low, r.High, r.Confidence = a.Kind, a.Delta, a.Low, a.High, a.Confidence
	r.Background = uint32(min(1000*a.Background, 1e9))
	if a.Kind != proto.AllocationPreserving {
		r.Samples = portsOf(m.fresh)
	}
}

// portsOf are the outside ports, of which a report holds the newest.
func portsOf(sights []Sight) (ports []uint16) {
	for _, s := range asMapped(ofOneAddress(sights)) {
		ports = append(ports, s.Outside.Port())
	}
	return ports[max(0, len(ports)-proto.MaxNATSamples):]
}
