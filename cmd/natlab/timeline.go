package main

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/punch"
)

// moment is one line of the timeline of punching.
type moment struct {
	At   time.Duration // since the plan's first dial is due
	What string        // three columns: who, what, and what came of it
	Good bool          // to be stressed
}

// clock puts the times of taps, agents and this process on one axis: the plan's
// start as the initiator has it is 0.
type clock struct {
	zero int64     // monotonic nanoseconds of the plan's start
	mono int64     // any moment in monotonic nanoseconds,
	wall time.Time // and the same as a Time
}

func (c clock) since(mono int64) time.Duration { return time.Duration(mono - c.zero) }

func (c clock) sinceTime(t time.Time) time.Duration {
	return c.since(c.mono + t.Sub(c.wall).Nanoseconds())
}

// moments merges what the wire and both diaries tell, in order of time.
func moments(c clock, syns []syn, diaries map[string]diary) []moment {
	var all []moment
	for _, s := range abridge(syns) {
		all = append(all, c.moment(s))
	}
	for side, d := range diaries {
		all = append(all, milestones(c, side, d)...)
	}
	slices.SortStableFunc(all, func(a, b moment) int { return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.What, b.What)) })
	return all
}

// moment is the line of a SYN.
func (c clock) moment(s syn) moment {
	if s.Number == 0 {
		return moment{At: c.sinceTime(s.Sent), What: fmt.Sprintf("…      %d more SYNs like these", s.seq)}
	}
	name := fmt.Sprintf("SYN %d", s.Number)
	if s.Again {
		name += " again"
	}
	arrived := "-"
	if !s.Arrived.IsZero() {
		arrived = "there at " + millis(c.sinceTime(s.Arrived))
	}
	what := fmt.Sprintf("%s → %s  %-12s %-19s %s", s.From, s.To, name, arrived, s.Met.describe(s.From, s.To))
	return moment{At: c.sinceTime(s.Sent), What: what, Good: s.Met == crossed || s.Met == listener}
}

// shown is the number of SYNs at both ends of a timeline that are always shown.
const shown = 6

// abridge puts one SYN with the number 0 in place of those in the middle; its
// seq is how many they are.
func abridge(syns []syn) []syn {
	hidden := len(syns) - 2*shown
	if hidden <= 1 {
		return syns
	}
	gap := syn{Sent: syns[shown].Sent, seq: uint32(hidden)}
	return slices.Concat(syns[:shown], []syn{gap}, syns[len(syns)-shown:])
}

// milestones are the lines of a diary: those that the wire does not show.
func milestones(c clock, side string, d diary) (all []moment) {
	for _, h := range d {
		if text := milestone(h); text != "" {
			good := h.Kind == peer.Connected
			all = append(all, moment{At: c.since(h.At), What: fmt.Sprintf("%-5s  %s", side, text), Good: good})
		}
	}
	return all
}

func milestone(h happening) string {
	switch h.Kind {
	case peer.Introduced:
		return "has the introduction: the other's endpoint, a secret, and when to dial"
	case peer.Secured:
		return "TLS 1.3 is complete"
	case peer.Connected:
		return "the session is confirmed by both"
	case peer.Punch:
		return punchMilestone(h)
	}
	return ""
}

func punchMilestone(h happening) string {
	switch h.Punch {
	case punch.Connected.String():
		return fmt.Sprintf("dial %d is connected", h.Attempt)
	case punch.Accepted.String():
		return "the listener has a connection from the other, which knows the secret"
	case punch.Proven.String():
		return "the other end knows the introduction's secret"
	case punch.Unproven.String(), punch.Skipped.String(), punch.Expired.String():
		return h.Punch + ": " + h.Error
	}
	return ""
}

// millis prints a moment of the timeline.
func millis(d time.Duration) string { return fmt.Sprintf("%+.1f ms", ms(d)) }
