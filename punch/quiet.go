package punch

import (
	"cmp"
	"time"

	"github.com/peerd/peerd/proto"
)

// quiet is what a target knows of its quiet dials.
//
// A peer's NAT that refuses our SYN ends the dial, and then our own NAT is in
// the way of what comes next. If the refusal was a RST, it has forgotten its
// entry, and the peer's SYN is unsolicited to it. If it was an ICMP error, it
// has kept the entry, and lets the peer's SYN in to a host where no socket is
// left that could answer: netfilter holds the first SYN's sequence number
// against every other, and the pair of endpoints is of no use for two minutes.
//
// So the side that was early, and is refused, dials again at once, but quietly:
// the entry is there, a socket stands behind it, and nothing reaches the peer's
// NAT that it could refuse. The peer's first SYN then meets both. Only where
// that does not help, for instance because our own NAT forgets its entry at any
// ICMP error, or stands behind another one, both kinds of dials take turns.
type quiet struct {
	ttl   int           // of the dial under way, or 0 if it is not quiet
	never bool          // even so close to us something refuses
	lasts time.Duration // how long the dial under way is held
	long  time.Time     // when the last long one began
	heard bool          // a deaf dial had no answer: the others are not deaf
}

const (
	// quietTTL lets the SYN pass one NAT and die at the router behind it. With
	// more it might pass a carrier's NAT, too, but also reach the peer's over a
	// short way, which would hold its sequence number against us: who has measured how
	// many there are, states it, and Step.TTL is that.
	quietTTL = 2
	// deafTTL is half of what hosts send with. Hardly any two of them are as far
	// apart, so the SYN arrives, and the peer's packets have more left.
	deafTTL = 32
	// quietLong ends before the kernel repeats the SYN, which would not be
	// quiet.
	quietLong = 900 * time.Millisecond
	// turns is for how long both kinds of dials take turns before another long
	// quiet one.
	turns = 1500 * time.Millisecond
	// quietShort is the mean time of a quiet dial while they do, or the round
	// trip if that is longer.
	quietShort = 20 * time.Millisecond
	// quietFirst is for how long a successor's first dial is quiet, besides the
	// round trip, and times two or four.
	quietFirst = 40 * time.Millisecond
)

// canBeQuiet reports whether quiet dials are possible and of use: between hosts
// of one network there is no NAT to open, and what refuses must be further away
// than our own NAT.
func (t *target) canBeQuiet() bool {
	return t.e.cfg.Quiet && t.step.To.Kind == proto.Observed && !t.quiet.never
}

// First is how a side makes its first dials.
type First uint8

const (
	// AsPlanned is what both sides have derived from the transcript.
	AsPlanned First = iota
	// Quietly is for who may have had a predecessor on its port, which the same
	// peer was connected to. What that connection has left in the peer's NAT may
	// have it refuse our SYN until it forgets, and let the peer's own SYN, and our
	// answer to it, pass: netfilter does for ten seconds after a RST.
	Quietly
	// Loudly is for who knows that the peer is such a one.
	Loudly
)

// isFirstQuiet reports whether the first dial is to be a quiet one. That of the
// plan is only for who is in time: the peer waits for a SYN from who is late.
func (t *target) isFirstQuiet() bool {
	switch first := t.e.cfg.First; {
	case t.step.Idea == Opener, t.step.Idea == Follower: // which of both is which matters more
	case t.isSpare(): // which had no predecessor
	case first == Quietly:
		return true
	case first == Loudly:
		return false
	}
	late := t.e.cfg.Clock.Now().Sub(t.e.cfg.Zero.Add(micros(t.step.At))) > lateness
	return t.step.Quiet && !late
}

// firstQuietTime is how long a first quiet dial is held. Where both sides begin
// quietly, the initiator's loud dial reaches the responder's quiet one.
func (t *target) firstQuietTime() time.Duration {
	rtt := micros(t.e.cfg.Plan.RTT)
	switch {
	case t.isSpare():
		return quietLong
	case t.e.cfg.First != Quietly:
		return min(quietLong, micros(t.e.cfg.Plan.Quiet))
	case t.e.cfg.Role == proto.Initiator:
		return min(quietLong/2, 2*(quietFirst+rtt))
	default:
		return min(quietLong, 4*(quietFirst+rtt))
	}
}

// isDeaf reports whether a dial is to be deaf, or is.
func (t *target) isDeaf() bool {
	return t.step.Deaf && t.canBeQuiet() && t.quiet.ttl == 0 && !t.quiet.heard
}

// ttl is that of the next SYN, or 0 for an ordinary one.
func (t *target) ttl() int {
	if t.isDeaf() {
		return deafTTL
	}
	return t.quiet.ttl
}

// quietTime is how long the next quiet dial is held.
func (t *target) quietTime() time.Duration {
	now := t.e.cfg.Clock.Now()
	if cross := t.e.cfg.Zero.Add(micros(t.e.cfg.Plan.Cross)).Sub(now); cross > 0 && t.step.Quiet {
		return min(quietLong, cross)
	}
	if t.quiet.long.IsZero() || now.Sub(t.quiet.long) > quietLong+turns {
		t.quiet.long = now
		return quietLong
	}
	return min(quietLong, t.jitter(max(quietShort, micros(t.e.cfg.Plan.RTT))))
}

// dialQuietly dials at once, whatever the pace: every moment without a socket
// may be the one in which the peer's SYN comes.
func (t *target) dialQuietly(lasts time.Duration) {
	t.quiet.ttl = cmp.Or(int(t.step.TTL), quietTTL)
	t.quiet.lasts = lasts
	t.dial()
}

// dialLoudly replaces a quiet dial by an ordinary one, as soon as the pace
// allows.
func (t *target) dialLoudly() {
	if t.waitForAnswered(t.dialLoudly) {
		return
	}
	wait := t.take()
	switch held := t.e.cfg.Clock.Now().Sub(t.dialled); {
	case wait == 0:
		t.replaceQuiet()
	case held+wait < synSchedule[0]*time.Second:
		t.after(wait, t.replaceQuiet)
	default: // others use the pace up: what the kernel repeats is not quiet
		t.drop()
		t.quiet.ttl = 0
		t.schedule(wait)
	}
}

func (t *target) replaceQuiet() {
	if t.waitForAnswered(t.replaceQuiet) {
		return
	}
	t.drop()
	t.quiet.ttl = 0
	t.trace(Replaced, nil)
	t.dial()
}
