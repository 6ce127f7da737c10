package rendezvous

import (
	"maps"
	"net/netip"
	"time"

	"github.com/peerd/peerd/proto"
)

// departure is what is remembered of a lost registration for as long as it is
// expected to come back. One to which nothing would be offered is not remembered.
type departure struct {
	policy
	source netip.Prefix
	until  time.Time
	timer  *timer
}

// departLocked remembers m, which has left, if somebody might wait for it. For each
// ID that is as many as can be registered, and those that are expected for longest;
// how many there are in all, and of one source, is bounded, too.
func (r *registry) departLocked(m *member, now time.Time) {
	until := now.Add(max(r.cfg.restartGrace(), m.away))
	if r.closed || !until.After(now) || !m.answers && len(m.answersFor) == 0 || r.memberLocked(m.party) != nil {
		return
	}
	if len(r.departures[m.id]) >= r.cfg.maxInstances() {
		first := r.firstBackLocked(m.id)
		if !until.After(r.departures[m.id][first].until) {
			return
		}
		r.forgetDepartureLocked(party{m.id, first})
	}
	if !r.away.enter(m.source) {
		return
	}
	p, d := m.party, &departure{policy: m.policy, source: m.source, until: until}
	d.timer = r.timers.set(until, func(time.Time) { r.forgetDepartureLocked(p) })
	if r.departures[p.id] == nil {
		r.departures[p.id] = make(map[proto.Token]*departure)
	}
	r.departures[p.id][p.instance] = d
}

// firstBackLocked returns the instance of an ID that is expected first.
func (r *registry) firstBackLocked(id proto.ID) (first proto.Token) {
	of := r.departures[id]
	for instance, d := range of {
		if of[first] == nil || d.until.Before(of[first].until) {
			first = instance
		}
	}
	return first
}

// forgetDepartureLocked reports whether the departure was remembered.
func (r *registry) forgetDepartureLocked(p party) bool {
	of := r.departures[p.id]
	d := of[p.instance]
	if d == nil {
		return false
	}
	r.timers.stop(d.timer)
	r.away.leave(d.source)
	if delete(of, p.instance); len(of) == 0 {
		delete(r.departures, p.id)
	}
	return true
}

// returnedLocked has nobody wait any longer for what m was before it left.
func (r *registry) returnedLocked(m *member, now time.Time) {
	if !r.forgetDepartureLocked(m.party) {
		return
	}
	for in := range maps.Clone(r.waiting[m.id]) {
		r.expectLocked(in)
		r.waitLocked(in, now)
	}
}

// patienceLocked returns until when an introduction from the given ID waits for
// a peer that does not answer now. It is not after now if there is no reason
// to expect the peer.
func (r *registry) patienceLocked(peer, from proto.ID) time.Time {
	until := r.graceEnds
	for _, d := range r.departures[peer] {
		if d.until.After(until) && (d.answers || d.names(from)) {
			until = d.until
		}
	}
	return until
}

// expectLocked notes until when the responder of a meeting is expected.
func (r *registry) expectLocked(in *meeting) {
	in.expected = r.patienceLocked(in.responder.id, in.initiator.id)
	if !in.answerBy.IsZero() && in.expected.After(in.answerBy) {
		in.expected = in.answerBy
	}
}
