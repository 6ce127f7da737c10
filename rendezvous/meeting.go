package rendezvous

import (
	"maps"
	"slices"
	"time"

	"github.com/peerd/peerd/proto"
)

// meeting is an introduction from the first request until shortly after it was
// issued. All of it is guarded by registry.mu.
//
//	            no responder answers            offer sent
//	request ──▶ waiting ◀─────────────────────▶ offered
//	               │ each request at its own time: declined
//	               │ the responder asks as well    │ consent, or the same
//	               ▼                               ▼
//	            agreed: both want it; the first round trip is outstanding
//	               ▼
//	            issued: kept for a request of the responder that crossed it
type meeting struct {
	token     proto.Token
	state     state
	initiator side      // its party never changes, its member may be lost and return
	responder side      // its ID never changes; nothing else is set while waiting
	expected  time.Time // while waiting: until when the responder is expected back
	answerBy  time.Time // consent is due; zero before the first offer
	timer     *timer    // leads to timeoutLocked

	// Set once it is issued.
	secret     proto.Secret
	transcript []byte
}

type state uint8

const (
	waiting state = iota
	offered
	agreed
	issued
)

// side is one side of a meeting.
type side struct {
	party
	member   *member   // nil while it is not registered
	requests []request // its own, which the introduction answers
	stated
}

// stated is what a client says of itself.
type stated struct {
	candidates []proto.Candidate
	portMode   proto.PortMode
	nat        *proto.NATReport
	noGuess    bool
}

// request is a request for an introduction that was not answered yet.
type request struct {
	number uint32
	until  time.Time // it waits for a responder; not after now if it does not wait
}

// newRequest returns the request that a client's message makes.
func newRequest(q *proto.Introduce, now time.Time) request {
	return request{q.Request, now.Add(min(time.Duration(q.Wait)*time.Second, proto.MaxWait))}
}

// introduce acts on a member's request.
func (r *registry) introduce(m *member, q *proto.Introduce, now time.Time) {
	r.mu.Lock()
	defer r.unlock()
	switch {
	case m.gone:
	case q.Peer == m.id || q.Peer.IsZero():
		m.out.send(&proto.Declined{Request: q.Request, Code: proto.CodeProtocol})
	case !r.rates.allow(m.id, now) || !r.sourceRates.allow(m.source, now):
		m.out.send(&proto.Declined{Request: q.Request, Code: proto.CodeBusy})
	default:
		r.requestLocked(m, q.Peer, newRequest(q, now), stated{q.Candidates, q.PortMode, q.NAT, q.NoGuess}, now)
	}
}

// requestLocked finds the meeting that a request belongs to, or starts one.
func (r *registry) requestLocked(m *member, peer proto.ID, q request, own stated, now time.Time) {
	switch in := r.meetingLocked(m, peer); {
	case in == nil:
		r.proposeLocked(m, peer, q, own, now)
	case in.state == issued:
		if !in.crossedBy(m) {
			r.proposeLocked(m, peer, q, own, now)
			return
		}
		in.responder.requests = []request{q}
		in.tell(&in.responder)
	case in.initiator.party == m.party:
		r.joinLocked(in, m, q, own)
		if in.state == waiting {
			r.waitLocked(in, now)
		}
	default:
		r.consentLocked(in, m, q, own, now)
	}
}

// meetingLocked returns the meeting of m with a peer, or one of the peer that
// still lacks a registration of m's ID, or nil.
func (r *registry) meetingLocked(m *member, peer proto.ID) *meeting {
	if in := r.between[pair{m.party, peer}]; in != nil {
		return in
	}
	for in := range r.waiting[m.id] {
		if in.initiator.id == peer {
			return in
		}
	}
	return nil
}

// crossedBy reports whether a request of m is one that m sent before it got
// the introduction.
func (in *meeting) crossedBy(m *member) bool {
	return in.responder.member == m && len(in.responder.requests) == 0
}

// proposeLocked starts a meeting.
func (r *registry) proposeLocked(m *member, peer proto.ID, q request, own stated, now time.Time) {
	if len(m.asked) >= maxAsked {
		m.out.send(&proto.Declined{Request: q.number, Code: proto.CodeBusy})
		return
	}
	in := &meeting{
		token:     proto.NewToken(),
		initiator: side{party: m.party},
		responder: side{party: party{id: peer}},
	}
	r.between[pair{m.party, peer}] = in
	r.joinLocked(in, m, q, own)
	r.seekLocked(in, now)
}

// joinLocked adds a request of the initiator. It may come from a new
// connection of that instance, whose requests on the old one are void.
func (r *registry) joinLocked(in *meeting, m *member, q request, own stated) {
	if len(in.initiator.requests) >= maxAsked {
		m.out.send(&proto.Declined{Request: q.number, Code: proto.CodeBusy})
		return
	}
	in.initiator.member = m
	in.initiator.requests = append(in.initiator.requests, q)
	in.initiator.stated = own.allowed()
	if m.asked == nil {
		m.asked = make(map[*meeting]struct{})
	}
	m.asked[in] = struct{}{}
}

// consentLocked takes a request of the other side as its consent.
func (r *registry) consentLocked(in *meeting, m *member, q request, own stated, now time.Time) {
	if in.initiator.member == nil {
		r.removeLocked(in)
		r.proposeLocked(m, in.initiator.id, q, own, now)
		return
	}
	if len(in.responder.requests) >= maxAsked || in.state == waiting && len(m.offers) >= maxOffers {
		m.out.send(&proto.Declined{Request: q.number, Code: proto.CodeBusy})
		return
	}
	if in.state == waiting {
		r.assignLocked(in, m)
	}
	in.responder.requests = append(in.responder.requests, q)
	r.acceptLocked(in, own, now)
}

// seekLocked offers the meeting to the responder; if it is not there, it waits
// for it or gives up.
func (r *registry) seekLocked(in *meeting, now time.Time) {
	if m := r.answeringLocked(in.responder.id, in.initiator.id); m != nil {
		r.offerLocked(in, m, now)
		return
	}
	r.expectLocked(in)
	in.state = waiting
	if r.waiting[in.responder.id] == nil {
		r.waiting[in.responder.id] = make(map[*meeting]struct{})
	}
	r.waiting[in.responder.id][in] = struct{}{}
	r.waitLocked(in, now)
}

// waitLocked declines the requests that wait no longer, and sets the timer for
// the next.
func (r *registry) waitLocked(in *meeting, now time.Time) {
	var next time.Time
	in.initiator.requests = slices.DeleteFunc(in.initiator.requests, func(q request) bool {
		until := q.until
		if in.expected.After(until) {
			until = in.expected
		}
		if !until.After(now) {
			in.initiator.member.out.send(&proto.Declined{Request: q.number, Code: proto.CodeOffline})
			return true
		}
		if next.IsZero() || until.Before(next) {
			next = until
		}
		return false
	})
	if next.IsZero() {
		r.removeLocked(in)
		return
	}
	r.setTimerLocked(in, next)
}

// offerLocked asks m for its consent. However often the meeting is offered,
// the first offer starts the only clock, unless a request has outwaited it.
func (r *registry) offerLocked(in *meeting, m *member, now time.Time) {
	if len(m.offers) >= maxOffers {
		r.declineLocked(in, proto.CodeBusy)
		return
	}
	if !in.answerBy.After(now) {
		in.answerBy = now.Add(answerTimeout)
	}
	r.assignLocked(in, m)
	in.state = offered
	r.setTimerLocked(in, in.answerBy)
	m.out.send(&proto.Offer{Introduction: in.token, Initiator: in.initiator.id})
}

// assignLocked makes m the responder.
func (r *registry) assignLocked(in *meeting, m *member) {
	r.stopWaitingLocked(in)
	in.responder = side{party: m.party, member: m}
	r.between[pair{m.party, in.initiator.id}] = in
	if m.offers == nil {
		m.offers = make(map[proto.Token]*meeting)
	}
	m.offers[in.token] = in
}

// unassignLocked takes the responder's side back.
func (r *registry) unassignLocked(in *meeting) {
	if m := in.responder.member; m != nil {
		delete(m.offers, in.token)
		r.forgetPairLocked(pair{m.party, in.initiator.id}, in)
	}
	in.responder = side{party: party{id: in.responder.id}}
}

// answer acts on a member's answer to an offer. One that comes too late, or
// after the member's own request consented, changes nothing.
func (r *registry) answer(m *member, a *proto.Answer, now time.Time) {
	r.mu.Lock()
	defer r.unlock()
	in := m.offers[a.Introduction]
	switch {
	case in == nil || in.state != offered:
	case !a.Accept && a.Code == proto.CodeBusy:
		r.declineLocked(in, proto.CodeBusy)
	case !a.Accept:
		r.declineLocked(in, proto.CodeRefused)
	default:
		r.acceptLocked(in, stated{a.Candidates, a.PortMode, a.NAT, a.NoGuess}, now)
	}
}

// acceptLocked notes that both sides want the meeting. What counts is what the
// responder states last.
func (r *registry) acceptLocked(in *meeting, own stated, now time.Time) {
	if in.initiator.member == nil {
		r.removeLocked(in) // if it comes back it will ask again
		return
	}
	in.responder.stated = own.allowed()
	if in.state != agreed {
		in.state = agreed
		r.setTimerLocked(in, now.Add(pongTimeout))
	}
	r.issueIfMeasuredLocked(in, now)
}

// allowed leaves out what a client has no business to state.
func (s stated) allowed() stated {
	s.candidates = slices.DeleteFunc(slices.Clone(s.candidates), func(c proto.Candidate) bool { return c.Kind != proto.Host })
	return s
}

// firstPongLocked issues what waited for the first round trip of m.
func (r *registry) firstPongLocked(m *member, now time.Time) {
	for _, in := range meetingsOf(m) {
		if in.state == agreed {
			r.issueIfMeasuredLocked(in, now)
		}
	}
}

// meetingsOf returns the unanswered meetings of m, those it initiated first.
func meetingsOf(m *member) []*meeting {
	return slices.AppendSeq(slices.Collect(maps.Keys(m.asked)), maps.Values(m.offers))
}

func (r *registry) issueIfMeasuredLocked(in *meeting, now time.Time) {
	if in.initiator.member.rtt.micros() != 0 && in.responder.member.rtt.micros() != 0 {
		r.issueLocked(in, now)
	}
}

// issueLocked hands both sides the introduction.
func (r *registry) issueLocked(in *meeting, now time.Time) {
	t := proto.Transcript{
		Introduction: in.token,
		PlanVersion:  min(in.initiator.member.plan, in.responder.member.plan),
		Initiator:    in.initiator.statement(),
		Responder:    in.responder.statement(),
	}
	var err error
	if in.transcript, err = t.Marshal(); err != nil {
		// Each part was checked when it came in. Should the whole still be
		// bad, then it is so for these two only.
		r.declineLocked(in, proto.CodeProtocol)
		return
	}
	in.secret = proto.NewSecret()
	in.state = issued
	delete(in.initiator.member.asked, in)
	delete(in.responder.member.offers, in.token)
	in.tell(&in.initiator)
	in.tell(&in.responder)
	r.setTimerLocked(in, now.Add(repeatWindow))
}

// statement is the side's part of the transcript.
func (s *side) statement() proto.Party {
	return proto.Party{
		ID:         s.id,
		Instance:   s.instance,
		RTT:        s.member.rtt.micros(),
		Observed:   s.member.observed,
		Candidates: s.candidates,
		PortMode:   s.portMode,
		NAT:        s.nat,
		NoGuess:    s.noGuess,
	}
}

// tell sends the introduction to one side, once for each of its requests.
func (in *meeting) tell(s *side) {
	requests := s.requests
	if len(requests) == 0 {
		requests = []request{{}}
	}
	for _, q := range requests {
		s.member.out.send(&proto.Introduction{Request: q.number, Secret: in.secret, Transcript: in.transcript})
	}
}

// declineLocked ends a meeting that was not issued.
func (r *registry) declineLocked(in *meeting, code proto.Code) {
	for _, s := range []*side{&in.initiator, &in.responder} {
		if s.member == nil {
			continue
		}
		for _, q := range s.requests {
			s.member.out.send(&proto.Declined{Request: q.number, Code: code})
		}
	}
	r.removeLocked(in)
}

// partLocked acts on the loss of m for its unanswered meetings.
func (r *registry) partLocked(m *member, now time.Time) {
	for in := range maps.Clone(m.asked) {
		r.initiatorLostLocked(in, now)
	}
	for _, in := range slices.Collect(maps.Values(m.offers)) {
		r.unassignLocked(in)
		if in.initiator.member == nil {
			r.removeLocked(in)
		} else {
			r.seekLocked(in, now)
		}
	}
	m.asked, m.offers = nil, nil
}

// initiatorLostLocked keeps an unanswered offer: the initiator may be back
// before the answer and then joins it, so that nobody is asked twice, and an
// initiator that comes and goes cannot fill the responder's queue with offers.
func (r *registry) initiatorLostLocked(in *meeting, now time.Time) {
	in.initiator.member, in.initiator.requests = nil, nil
	if in.state == offered {
		return
	}
	responder := in.responder
	r.removeLocked(in)
	for _, q := range responder.requests { // it has asked itself: now it leads
		r.requestLocked(responder.member, in.initiator.id, q, responder.stated, now)
	}
}

// withdraw takes a request of m back. One by which m has consented to a meeting
// stays: it must get the introduction for which the other side is told to punch.
func (r *registry) withdraw(m *member, number uint32, now time.Time) {
	r.mu.Lock()
	defer r.unlock()
	for in := range m.asked {
		in.initiator.requests = slices.DeleteFunc(in.initiator.requests, func(q request) bool { return q.number == number })
		if len(in.initiator.requests) == 0 {
			delete(m.asked, in)
			r.initiatorLostLocked(in, now)
		}
	}
}

// adoptLocked offers to m what waits for a registration like it.
func (r *registry) adoptLocked(m *member, now time.Time) {
	for in := range maps.Clone(r.waiting[m.id]) {
		if m.answers || m.names(in.initiator.id) {
			r.offerLocked(in, m, now)
		}
	}
}

// timeoutLocked acts on the end of the time that a state may last.
func (r *registry) timeoutLocked(in *meeting, now time.Time) {
	switch in.state {
	case waiting:
		r.waitLocked(in, now)
	case offered:
		r.declineLocked(in, proto.CodeTimeout)
	case agreed:
		r.issueLocked(in, now)
	case issued:
		r.removeLocked(in)
	}
}

func (r *registry) setTimerLocked(in *meeting, at time.Time) {
	r.timers.stop(in.timer)
	in.timer = r.timers.set(at, func(now time.Time) { r.timeoutLocked(in, now) })
}

// removeLocked forgets a meeting.
func (r *registry) removeLocked(in *meeting) {
	r.timers.stop(in.timer)
	r.stopWaitingLocked(in)
	r.unassignLocked(in)
	if m := in.initiator.member; m != nil {
		delete(m.asked, in)
	}
	r.forgetPairLocked(pair{in.initiator.party, in.responder.id}, in)
}

func (r *registry) stopWaitingLocked(in *meeting) {
	of := r.waiting[in.responder.id]
	delete(of, in)
	if len(of) == 0 {
		delete(r.waiting, in.responder.id)
	}
}

// forgetPairLocked forgets which meeting a pair has, unless it is a later one.
func (r *registry) forgetPairLocked(p pair, in *meeting) {
	if r.between[p] == in {
		delete(r.between, p)
	}
}
