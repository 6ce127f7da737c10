package punch

import "time"

// Where neither side listens and their round trip is short, dials that are
// refused are repeated in rounds. Round k begins at the plan's Start + k Round.
// Both sides then have a whole burst, and what is left to chance is by how much
// their clocks differ: dials that follow each other at once meet for certain if
// that is less than the burst takes. Since nobody knows the difference, the
// bursts of successive rounds are spread over more and more time.

// spreads are the times from one dial of a round to the next, by turns: on average, and from
// half of that to one and a half times that.
var spreads = [...]time.Duration{0, time.Millisecond, 8 * time.Millisecond}

// nextInRounds is how long to wait after a refusal. What the pace gives back
// during a round that is spread is spent in it.
func (t *target) nextInRounds() time.Duration {
	round := micros(t.e.cfg.Plan.Round)
	now := t.e.cfg.Clock.Now()
	since := now.Sub(t.e.start)
	number := max(0, since/round)
	if wait := t.take(); wait > 0 {
		return max(wait, (number+1)*round-since) + t.jitter(gapRefused)
	}
	spread := spreads[int(number)%len(spreads)] - now.Sub(t.dialled)
	return t.jitter(max(gapRefused, spread))
}
