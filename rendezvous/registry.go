package rendezvous

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/peerd/peerd/proto"
)

// registry is who is registered and who is being introduced to whom. It does
// no I/O: what it has to say goes to the members' outboxes, which never block,
// and time comes in as a parameter. It is safe for concurrent use.
type registry struct {
	cfg         *ServerConfig
	rates       *buckets[proto.ID]     // of introductions
	sourceRates *buckets[netip.Prefix] // of introductions
	wake        chan struct{}          // capacity 1: the earliest timer has changed

	mu         sync.Mutex
	members    map[proto.ID][]*member // each ID's in the order of registration
	count      int
	perSource  map[netip.Prefix]int
	departures map[proto.ID]map[proto.Token]*departure
	away       *gate                              // how many there are of these
	waiting    map[proto.ID]map[*meeting]struct{} // by the ID of the responder that they lack
	between    map[pair]*meeting
	timers     timers
	armed      time.Time // when expire will wake up; zero if no timer is set
	graceEnds  time.Time // of the server's start
	closed     bool
}

// pair is how a side finds its introduction with a peer, whichever instance of
// the peer it is with.
type pair struct {
	party party
	peer  proto.ID
}

func newRegistry(cfg *ServerConfig) *registry {
	return &registry{
		cfg:         cfg,
		rates:       newBuckets[proto.ID](cfg.introductionRate(), cfg.introductionBurst()),
		sourceRates: newBuckets[netip.Prefix](idsPerSource*cfg.introductionRate(), idsPerSource*cfg.introductionBurst()),
		wake:        make(chan struct{}, 1),
		members:     make(map[proto.ID][]*member),
		perSource:   make(map[netip.Prefix]int),
		departures:  make(map[proto.ID]map[proto.Token]*departure),
		away:        newGate(cfg.maxClients()),
		waiting:     make(map[proto.ID]map[*meeting]struct{}),
		between:     make(map[pair]*meeting),
	}
}

// unlock releases the lock and sees to it that expire wakes up for what was
// set while it was held.
func (r *registry) unlock() {
	if next, ok := r.timers.next(); ok && (r.armed.IsZero() || next.Before(r.armed)) {
		r.armed = next
		select {
		case r.wake <- struct{}{}:
		default: // it is about to look anyway
		}
	}
	r.mu.Unlock()
}

// misplaced is the error for a message that a client may not send now.
func misplaced(t proto.Type) error {
	return fmt.Errorf("%w: %s out of place", proto.ErrMalformed, t)
}

// start begins the grace in which peers come back after a restart of the
// server. Only the first call has an effect.
func (r *registry) start(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.graceEnds.IsZero() {
		r.graceEnds = now.Add(r.cfg.restartGrace())
	}
}

// join registers a member and tells it so. It returns CodeOK, or why the
// member was not taken.
func (r *registry) join(m *member, reg *proto.Register, now time.Time) proto.Code {
	r.mu.Lock()
	defer r.unlock()
	old := r.memberLocked(m.party)
	if code := r.roomLocked(m, old); code != proto.CodeOK {
		return code
	}
	m.plan, m.policy = reg.PlanVersion, policyOf(reg)
	r.members[m.id] = append(r.members[m.id], m)
	r.count++
	r.perSource[m.source]++
	m.out.send(r.cfg.announce(m))
	m.out.ping()
	if old != nil {
		r.leaveLocked(old, now)
		old.out.last(&proto.Failure{Code: proto.CodeReplaced})
	}
	r.adoptLocked(m, now)
	r.returnedLocked(m, now)
	return proto.CodeOK
}

func (r *registry) memberLocked(p party) *member {
	for _, m := range r.members[p.id] {
		if m.instance == p.instance {
			return m
		}
	}
	return nil
}

// roomLocked says whether m may register, old being what it would replace.
func (r *registry) roomLocked(m, old *member) proto.Code {
	switch {
	case r.closed:
		return proto.CodeShutdown
	case old != nil:
		return proto.CodeOK
	case r.count >= r.cfg.maxClients(),
		r.perSource[m.source] >= r.cfg.maxClientsPerAddress(),
		len(r.members[m.id]) >= r.cfg.maxInstances():
		return proto.CodeBusy
	}
	return proto.CodeOK
}

// update takes a changed registration of a member. The error wraps
// ErrMalformed if it is that of another instance.
func (r *registry) update(m *member, reg *proto.Register, now time.Time) error {
	if reg.Instance != m.instance {
		return fmt.Errorf("%w: registration of a second instance", proto.ErrMalformed)
	}
	r.mu.Lock()
	defer r.unlock()
	if m.gone {
		return nil
	}
	m.plan, m.policy = reg.PlanVersion, policyOf(reg)
	m.out.send(r.cfg.announce(m))
	r.adoptLocked(m, now)
	return nil
}

// leave ends a registration. It does nothing if it has ended already.
func (r *registry) leave(m *member, now time.Time) {
	r.mu.Lock()
	defer r.unlock()
	r.leaveLocked(m, now)
}

func (r *registry) leaveLocked(m *member, now time.Time) {
	if m.gone {
		return
	}
	m.gone = true
	r.strikeLocked(m)
	r.count--
	if r.perSource[m.source]--; r.perSource[m.source] == 0 {
		delete(r.perSource, m.source)
	}
	r.departLocked(m, now)
	r.partLocked(m, now)
}

// strikeLocked takes m out of the list of its ID.
func (r *registry) strikeLocked(m *member) {
	of := r.members[m.id]
	i := slices.Index(of, m)
	if r.members[m.id] = slices.Delete(of, i, i+1); len(of) == 1 {
		delete(r.members, m.id)
	}
}

// answeringLocked returns the registration of a peer to which an introduction
// from the given ID is offered: the first that answers it by name, or else the
// latest that answers at all; nil if there is none.
func (r *registry) answeringLocked(peer, from proto.ID) (latest *member) {
	for _, m := range r.members[peer] {
		if m.names(from) {
			return m
		}
		if m.answers {
			latest = m
		}
	}
	return latest
}

// measured takes a round trip of m into account. It reports whether another one is to be
// measured at once.
func (r *registry) measured(m *member, d time.Duration, now time.Time) (again bool) {
	r.mu.Lock()
	defer r.unlock()
	first := m.rtt.count == 0
	if first && m.handshake > 0 {
		m.rtt.add(m.handshake)
	}
	m.rtt.add(d)
	if first {
		r.firstPongLocked(m, now)
	}
	return m.rtt.wants()
}

// roundTrip returns the estimate for m; 0 if nothing was measured.
func (r *registry) roundTrip(m *member) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Duration(m.rtt.micros()) * time.Microsecond
}

// expire fires timers until done is closed.
func (r *registry) expire(done <-chan struct{}) {
	t := time.NewTimer(0)
	defer t.Stop()
	for {
		select {
		case <-done:
			return
		case <-r.wake:
		case <-t.C:
		}
		if due, ok := r.runTimers(time.Now()); ok {
			t.Reset(time.Until(due))
		}
	}
}

func (r *registry) runTimers(now time.Time) (next time.Time, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.timers.run(now)
	next, ok = r.timers.next()
	r.armed = next
	return next, ok
}

// farewell ends all registrations, telling the clients why. Nobody can
// register from then on.
func (r *registry) farewell(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	for _, of := range r.members {
		for _, m := range slices.Clone(of) {
			r.leaveLocked(m, now)
			m.out.last(&proto.Failure{Code: proto.CodeShutdown})
		}
	}
}
