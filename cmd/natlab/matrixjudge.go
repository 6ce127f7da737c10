package main

import (
	"fmt"
	"math"
	"time"
)

// misses says in which ways a pair falls short of what is expected of it; none is
// well. A pair whose class is a rate below 1 misses it only where chance hardly
// explains the failures: ten runs at 95 % have one in four times in ten. The rate
// itself is judged over all pairs of the class, see classMisses.
func (r pairResult) misses() (list []string) {
	e, known := expectations.of(r.A, r.B)
	switch {
	case !known:
		return []string{"there is no expectation"}
	case len(r.Runs) == 0:
		return []string{"nothing was run"}
	case !e.Class.connects():
		return r.hopelessMisses(e.Class)
	}
	d := demands[e.Class]
	if n := r.direct(d.Within); isShort(n, len(r.Runs), d.Rate) {
		list = append(list, fmt.Sprintf("%s: %d of %d connect%s", e.Class, n, len(r.Runs), within(d.Within)))
	}
	if p95 := r.firstByte(0.95); e.Class == classDirect && r.Loss > 0 && p95 > ms(lossyLimit) {
		list = append(list, fmt.Sprintf("direct, with loss: 95 %% take %.0f ms, not %.0f ms", p95, ms(lossyLimit)))
	}
	return list
}

// hopelessMisses judges a pair that is expected to have no direct connection.
func (r pairResult) hopelessMisses(c class) (list []string) {
	if n := r.direct(0); n > 0 {
		return []string{fmt.Sprintf("%s: %d of %d connect, so the rule does not hold", c, n, len(r.Runs))}
	}
	limit := ms(hopelessLimit(r.rtt()))
	late, silent := 0, 0
	for _, t := range r.Runs {
		if t.Ended == 0 || t.Ended > limit && c == classHopeless {
			late++
		}
		if t.Reason == "" {
			silent++
		}
	}
	if late > 0 {
		list = append(list, fmt.Sprintf("%s: %d of %d are not known to be after %.0f ms (%.0f ms)", c, late, len(r.Runs), limit, r.longestEnd()))
	}
	if silent > 0 {
		list = append(list, fmt.Sprintf("%s: %d of %d give no reason", c, silent, len(r.Runs)))
	}
	return list
}

func within(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return fmt.Sprintf(" within %v", d)
}

// rareEnough is how seldom chance alone may have a pair miss its rate.
const rareEnough = 0.001

// isShort reports whether n of runs are too few for a rate.
func isShort(n, runs int, rate float64) bool {
	if rate == 1 {
		return n < runs
	}
	return atMost(n, runs, rate) < rareEnough
}

// atMost is the probability of at most n successes in runs (binomial).
func atMost(n, runs int, rate float64) (sum float64) {
	for k := range n + 1 {
		sum += math.Exp(logChoose(runs, k) + float64(k)*math.Log(rate) + float64(runs-k)*math.Log1p(-rate))
	}
	return sum
}

func logChoose(n, k int) float64 {
	lgamma := func(n int) float64 { v, _ := math.Lgamma(float64(n + 1)); return v }
	return lgamma(n) - lgamma(k) - lgamma(n-k)
}

// tally counts the runs of a class under one condition.
type tally struct {
	Pairs, Direct, Runs int // Direct: as the class demands it
}

func tallyOf(results []pairResult, c class) (t tally) {
	for _, r := range results {
		if e, known := expectations.of(r.A, r.B); known && e.Class == c {
			t.Pairs++
			t.Direct += r.direct(demands[c].Within)
			t.Runs += len(r.Runs)
		}
	}
	return t
}

// classMisses says which classes do not reach their rates over all their pairs.
func classMisses(results []pairResult) (list []string) {
	for _, group := range conditions(results) {
		for _, c := range classes {
			t := tallyOf(group, c)
			if d := demands[c]; t.Runs > 0 && float64(t.Direct) < d.Rate*float64(t.Runs) {
				list = append(list, fmt.Sprintf("%s: %d of all %d runs of the class %s connect%s, not %.0f %%",
					conditionOf(group[0]), t.Direct, t.Runs, c, within(d.Within), 100*d.Rate))
			}
		}
	}
	return list
}
