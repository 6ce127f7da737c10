package peer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch"
	"github.com/peerd/peerd/punch/nat"
	"github.com/peerd/peerd/punch/reuse"
	"github.com/peerd/peerd/rendezvous"
)

// study is what a node knows of the NATs in front of it, and how it comes to know
// it: it measures once it is registered and has nothing else to do, and anew when
// it is somewhere else. What was found stays known for the places where it was
// last. A punch has precedence: measuring stops when one begins. So who connects to a
// peer at once, as a command does, has no time to measure; but where the server sees
// another port than the node's own, it takes a glimpse first.
//
// The fields are guarded by Node.mu, but for the channels due and one.
type study struct {
	due   chan struct{} // capacity 1: there may be something to measure
	one   chan struct{} // full while somebody measures or samples
	here  rendezvous.State
	epoch uint64      // counts registrations, and their losses
	found *nat.Result // here; nil if it has not been measured
	held  bool        // found was measured from this registration
	// glimpsed is what a glimpse has shown here, if anything, and glanced where the
	// latest one was taken.
	glimpsed *nat.Result
	glanced  place
	sampling chan struct{} // closed when samples that are being made are there; or nil
	sampled  time.Time     // when the latest were
	known    map[place]*nat.Result
	order    []place            // of known, oldest first
	stop     context.CancelFunc // ends the measurement under way, or nil
}

// place is where a node is in the networks: its own address and that of its
// outermost NAT.
type place struct{ inside, outside netip.Addr }

const (
	// maxPlaces bounds the places that a node remembers.
	maxPlaces = 8
	// studyDelay is for how long a node has been idle when it measures.
	studyDelay = time.Second
	// studyPause is between two measurements at least: a server that claims each time
	// that the node is somewhere else does not get one after the other.
	studyPause = 30 * time.Second
	// studyLimit bounds one measurement.
	studyLimit = 10 * time.Second
	// firstStudyRetry and lastStudyRetry are between a measurement that failed and
	// the next one.
	firstStudyRetry = 30 * time.Second
	lastStudyRetry  = time.Hour
	// maxInterrupted is how many measurements may begin in a row, and be interrupted,
	// before there is a pause.
	maxInterrupted = 3
	// studyLife is for how long what was found need not be measured again. It counts
	// for longer, but is measured anew when the node registers anew, because networks that look
	// the same may not be, and routers are replaced; and where a part did not come.
	studyLife = time.Hour
)

func (s *study) init() {
	s.due, s.one = make(chan struct{}, 1), make(chan struct{}, 1)
	s.known = make(map[place]*nat.Result)
}

// registeredLocked notes from where the node is registered now.
func (s *study) registeredLocked(here rendezvous.State) {
	s.epoch, s.held = s.epoch+1, false
	if s.here, s.found = here, s.known[placeOf(here)]; s.glanced != placeOf(here) {
		s.glimpsed = nil
	}
	s.wake()
}

// bestLocked is the most that is known here; nil if nothing is.
func (s *study) bestLocked() *nat.Result {
	if s.found != nil {
		return s.found
	}
	return s.glimpsed
}

func placeOf(s rendezvous.State) place { return place{s.Local.Addr(), s.Observed.Addr()} }

func (s *study) wake() {
	select {
	case s.due <- struct{}{}:
	default:
	}
}

// interruptLocked ends a measurement, because something else needs the network.
func (s *study) interruptLocked() {
	if s.stop != nil {
		s.stop()
	}
}

// learnLocked keeps what was found at a place.
func (s *study) learnLocked(at place, found *nat.Result) {
	if s.known[at] == nil {
		s.order = append(s.order, at)
		if len(s.order) > maxPlaces {
			delete(s.known, s.order[0])
			s.order = s.order[1:]
		}
	}
	s.known[at] = found
	if placeOf(s.here) == at {
		s.found = found
	}
}

// keepStudied measures whenever there is something to measure, until the node ends.
func (n *Node) keepStudied() {
	var next schedule
	timer := time.NewTimer(0)
	defer timer.Stop()
	<-timer.C
	for {
		select {
		case <-n.study.due:
		case <-timer.C:
		case <-n.active.Done():
			return
		}
		if !pause(n.active, studyDelay) {
			return
		}
		here, idle, known := n.needsStudy(time.Now())
		if known {
			continue
		}
		if wait := next.wait(here, time.Now()); !idle || wait > 0 {
			timer.Reset(max(wait, studyDelay))
			continue
		}
		_, err := n.measure(n.active, true)
		if next.ended(here, time.Now(), err); err == nil {
			timer.Reset(studyLife)
			continue
		}
		wait := next.wait(here, time.Now())
		n.cfg.Logger.Debug("measuring the NATs failed", "err", err, "again", wait)
		timer.Reset(wait)
	}
}

// schedule is when a node measures by itself. Its zero value is at once.
type schedule struct {
	next        time.Time     // nowhere before
	at          place         // where the latest measurement was
	retry       time.Duration // from when one has failed there to the next one; 0 if none has
	again       time.Time     // there not before
	interrupted int           // measurements in a row
}

// wait is until there may be a measurement at a place.
func (s *schedule) wait(at place, now time.Time) time.Duration {
	if at == s.at {
		return max(0, s.again.Sub(now))
	}
	return max(0, s.next.Sub(now))
}

// ended notes how a measurement has ended. One that a punch has interrupted is
// repeated soon, but not for ever: a server can have punches begin.
func (s *schedule) ended(at place, now time.Time, err error) {
	if at != s.at {
		s.at, s.retry = at, 0
	}
	switch {
	case err == nil:
		s.retry, s.interrupted, s.next = 0, 0, now.Add(studyPause)
	case errors.Is(err, errInterrupted):
		if s.interrupted++; s.interrupted%maxInterrupted == 0 {
			s.next = now.Add(studyPause)
		}
	default:
		s.retry = min(max(2*s.retry, firstStudyRetry), lastStudyRetry)
		s.interrupted, s.next = 0, now.Add(studyPause)
	}
	s.again = later(s.next, now.Add(s.retry))
}

// later returns the later of two times.
func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// pause reports whether ctx was still alive after d.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// needsStudy says where the node is, and reports whether it is idle, and whether there
// is nothing to find out here.
func (n *Node) needsStudy(now time.Time) (here place, idle, known bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	idle = n.registered && len(n.meetings) == 0 && len(n.calls) == 0
	return placeOf(n.study.here), idle, n.study.suffices(now) || !n.registered && !n.suspended
}

// suffices reports whether what is known here need not be measured. Its age is that by
// the clock on the wall: a machine may have slept. What misses a part, for the network
// went away perhaps, is not taken over by the next registration.
func (s *study) suffices(now time.Time) bool {
	if s.found == nil {
		return false
	}
	young := now.Round(0).Sub(s.found.At.Round(0)) < studyLife
	if s.held {
		return young || !s.found.Partial
	}
	return young && !s.found.Partial
}

// errSlow is why a measurement has no result although its caller had the time.
var errSlow = fmt.Errorf("finding out what the NATs do takes longer than %v here", studyLimit)

// errInterrupted is why a measurement has no result: a punch has begun.
var errInterrupted = errors.New("a connection to a peer is being made")

// Study finds out now what the NATs in front of the node do, with some 25 short
// connections to the server in about a second. A node does that by itself, once
// it is registered and idle and whenever it is on another network. The error is
// that of ctx, ErrClosed, wraps nat.ErrNoServer, nat.ErrMoved or ErrServer, or says
// that a connection to a peer is being made, which has precedence.
func (n *Node) Study(ctx context.Context) (NATStatus, error) { return n.measure(ctx, false) }

// measure is Study, but for what somebody else has found out by the time that it is
// this one's turn, if that will do.
func (n *Node) measure(ctx context.Context, orKnown bool) (NATStatus, error) {
	select {
	case n.study.one <- struct{}{}:
		defer func() { <-n.study.one }()
	case <-ctx.Done():
		return NATStatus{}, ctx.Err()
	}
	if found := n.studied(); orKnown && found != nil {
		return *natStatus(found), nil
	}
	limited, cancel := context.WithTimeout(ctx, studyLimit)
	defer cancel()
	defer context.AfterFunc(n.active, cancel)()
	here, epoch, ok := n.beginStudy(cancel)
	if !ok {
		return NATStatus{}, errInterrupted
	}
	cfg := n.natConfig(here)
	cfg.Far = append(cfg.Far, n.further(limited, here)...)
	found, err := nat.Measure(limited, cfg)
	if !n.endStudy(epoch, &found, err) {
		err = cmp.Or(err, n.errLost())
	}
	switch {
	case err == nil:
		st := natStatus(&found)
		n.emit(Event{Kind: Studied, NAT: st})
		return *st, nil
	case n.active.Err() != nil:
		return NATStatus{}, ErrClosed
	case errors.Is(err, context.Canceled) && ctx.Err() == nil:
		return NATStatus{}, errInterrupted
	case errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil:
		return NATStatus{}, errSlow
	}
	return NATStatus{}, err
}

// studied is what was found out here, or nil if that does not suffice.
func (n *Node) studied() *nat.Result {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.study.suffices(time.Now()) {
		return nil
	}
	return n.study.found
}

// errLost is why a measurement is of no use during which the registration was lost: it
// may have begun in one network and ended in another.
func (n *Node) errLost() error {
	return fmt.Errorf("%w: %s: the registration was lost meanwhile", ErrServer, n.cfg.Server.HostPort())
}

// endStudy keeps what a measurement has found, and reports whether the node is
// registered as it was when that began.
func (n *Node) endStudy(epoch uint64, found *nat.Result, err error) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.study.stop = nil
	same := n.study.epoch == epoch
	if err == nil && same {
		n.study.learnLocked(placeOf(n.study.here), found)
		n.study.held = true
	}
	return same
}

// beginStudy returns from where the node is registered, and which registration that
// is, and lets a punch end the measurement; false if one has begun.
func (n *Node) beginStudy(cancel context.CancelFunc) (rendezvous.State, uint64, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.registered || len(n.meetings) > 0 || len(n.calls) > 0 {
		return rendezvous.State{}, 0, false
	}
	n.study.stop = cancel
	return n.study.here, n.study.epoch, true
}

// natConfig says with what there is to measure.
func (n *Node) natConfig(s rendezvous.State) nat.Config {
	n.mu.Lock()
	server := n.server
	n.mu.Unlock()
	alternate := s.Probing.Alternate
	if !n.mayProbe(server, alternate) {
		alternate = netip.Addr{}
	}
	cfg := nat.Config{
		Net:       natNet{n, s.Probing.Token},
		Home:      nat.Sight{To: netip.AddrPortFrom(server, n.cfg.Server.Port), Inside: s.Local, Outside: s.Observed},
		Near:      endpoints(server, s.Probing.Ports),
		DialsBack: s.Probing.Token != nil,
		Alternate: alternate.IsValid(),
		OwnPort:   n.mode != reuse.Sequential,
		Listens:   n.mode == reuse.Shared,
	}
	if alternate.IsValid() {
		cfg.Far = endpoints(alternate, s.Probing.Ports)[:min(maxFar, len(s.Probing.Ports))]
	}
	if s.Probing.Silent != 0 {
		cfg.Silent = netip.AddrPortFrom(server, s.Probing.Silent)
	}
	if s.Probing.Closed != 0 {
		cfg.Closed = netip.AddrPortFrom(server, s.Probing.Closed)
	}
	return cfg
}

// further returns the endpoints of Config.STUN, one for each, at addresses of the
// kind that the node is registered from. Those at the rendezvous server's own address
// are no further ones: they would make a NAT that goes by addresses look better.
func (n *Node) further(ctx context.Context, here rendezvous.State) (list []netip.AddrPort) {
	n.mu.Lock()
	own := n.server
	n.mu.Unlock()
	for _, server := range n.cfg.STUN {
		at, err := resolve(ctx, server, here.Local.Addr().Is4())
		if err != nil {
			n.cfg.Logger.Warn("a STUN server cannot be used", "server", server, "err", cause(err))
			continue
		}
		switch at.Addr() {
		case own:
			n.cfg.Logger.Warn("a STUN server at the rendezvous server's own address shows nothing more", "server", server)
		case here.Observed.Addr():
		default:
			list = append(list, at)
		}
	}
	return list
}

// resolve returns an address of a server, of IPv4 or IPv6.
func resolve(ctx context.Context, server string, want4 bool) (netip.AddrPort, error) {
	host, service, err := net.SplitHostPort(server)
	if err != nil {
		return netip.AddrPort{}, err
	}
	port, err := net.DefaultResolver.LookupPort(ctx, "tcp", service)
	if err != nil {
		return netip.AddrPort{}, err
	}
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	for _, addr := range addrs {
		if addr = addr.Unmap(); addr.Is4() == want4 {
			return netip.AddrPortFrom(addr, uint16(port)), nil
		}
	}
	return netip.AddrPort{}, &net.AddrError{Err: "no address of the kind that the server has", Addr: host}
}

// maxFar bounds the SYNs that a measurement sends to the server's second address,
// which is only what the server says it is.
const maxFar = 2

// mayProbe reports whether an address that the server calls its own may be dialled:
// where an endpoint may that it has observed of a peer.
func (n *Node) mayProbe(server, alternate netip.Addr) bool {
	if !alternate.IsValid() || alternate.Is4() != server.Is4() || alternate == server {
		return false
	}
	host, err := punch.ReadHostNetwork()
	if err != nil {
		return false
	}
	to := proto.NewCandidate(netip.AddrPortFrom(alternate, 1), proto.Observed, 0)
	return host.Admission(server).Admit(punch.Step{To: to}) == nil
}

func endpoints(addr netip.Addr, ports []uint16) (list []netip.AddrPort) {
	for _, port := range ports {
		list = append(list, netip.AddrPortFrom(addr, port))
	}
	return list
}
