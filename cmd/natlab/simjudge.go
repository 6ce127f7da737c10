package main

import (
	"fmt"
	"math"
)

// expected is the class that the pair has under its condition: with IPv6, which no NAT
// translates, everybody connects.
func (s *simulated) expected() class {
	if s.IPv6 {
		return classDirect
	}
	return s.Class
}

// judge compares the cases with what is expected of the pair.
func (s *simulated) judge(r pairResult) {
	switch {
	case !s.IPv6:
		s.Misses = append(s.Misses, r.misses()...)
	case s.Good < s.Cases:
		s.Misses = append(s.Misses, fmt.Sprintf("%d of %d connect although both have IPv6", s.Good, s.Cases))
	}
	if s.Loss > 0 && s.Class != classDirect && s.Class != classRandom && s.P95 > ms(lossyLimit) {
		s.Misses = append(s.Misses, fmt.Sprintf("with loss: 95 %% take %.0f ms, not %.0f ms", s.P95, ms(lossyLimit)))
	}
}

// points is by how much the simulator's rate may differ from the lab's.
const points = 0.02

// compare compares the cases with the lab's runs of the same pair, if there are any.
func (s *simulated) compare(lab matrixReport) {
	if s.IPv6 {
		return
	}
	for _, r := range lab.Pairs {
		if r.A != s.A || r.B != s.B || r.rtt() != matrixRTT || r.Loss != s.Loss || len(r.Runs) == 0 {
			continue
		}
		d, runs := r.direct(0), len(r.Runs)
		s.Lab = &[2]int{d, runs}
		if differs(s.Good, s.Cases, d, runs) {
			s.Misses = append(s.Misses, fmt.Sprintf("the lab has %d of %d, the simulator %.1f %%", d, runs, 100*s.rate()))
		}
	}
}

// differs reports whether the simulator's rate is more than two points from the lab's.
// The lab has few runs. Where all or none of them connect, so must 98 % or at most 2 %
// of the cases, or a few less if chance has so few in one of a thousand pairs.
// Elsewhere there must be a rate within two points of the simulator's at which chance
// has what the lab has, likewise.
func differs(good, cases, d, runs int) bool {
	switch d {
	case runs:
		return atMost(good, cases, 1-points) < rareEnough
	case 0:
		return atMost(cases-good, cases, 1-points) < rareEnough
	}
	rate := float64(good) / float64(cases)
	few := atMost(d, runs, math.Max(rate-points, 1e-9))
	many := atMost(runs-d, runs, math.Max(1-rate-points, 1e-9))
	// The lab has too few even for the lower rate, or too many even for the higher one.
	return few < rareEnough || many < rareEnough
}

// classSum is all pairs of a class under one condition.
type classSum struct {
	Class     class   `json:"class"`
	Loss      float64 `json:"loss"`
	IPv6      bool    `json:"ipv6,omitempty"`
	Pairs     int     `json:"pairs"`
	Cases     int     `json:"cases"`
	Good      int     `json:"direct"`
	Timed     int     `json:"in_time"`
	WorstRate float64 `json:"worst_rate"`    // of a pair
	WorstP95  float64 `json:"worst_p95_ms"`  // likewise
	WorstEnd  float64 `json:"worst_end_ms"`  // of a case that has not connected
	LabRuns   int     `json:"lab_runs"`      // of pairs that both have
	LabGood   int     `json:"lab_direct"`    // likewise
	SimGood   float64 `json:"same_in_sim"`   // what the simulator's rates make of as many runs
	Misses    int     `json:"pairs_missing"` // expectations or the lab
}

func (c *classSum) add(s *simulated) {
	if c.Pairs++; c.Pairs == 1 || s.rate() < c.WorstRate {
		c.WorstRate = s.rate()
	}
	c.Cases, c.Good, c.Timed = c.Cases+s.Cases, c.Good+s.Good, c.Timed+s.Timed
	c.WorstP95, c.WorstEnd = math.Max(c.WorstP95, s.P95), math.Max(c.WorstEnd, s.Ended)
	if s.Lab != nil {
		c.LabRuns, c.LabGood = c.LabRuns+s.Lab[1], c.LabGood+s.Lab[0]
		c.SimGood += s.rate() * float64(s.Lab[1])
	}
	if len(s.Misses) > 0 {
		c.Misses++
	}
}

// misses says in which ways the class as a whole falls short.
func (c *classSum) misses() (list []string) {
	d := demands[c.Class]
	if !c.IPv6 && c.Class.connects() && float64(c.Timed) < d.Rate*float64(c.Cases) {
		list = append(list, fmt.Sprintf("%d of all %d cases connect%s, not %.0f %%", c.Timed, c.Cases, within(d.Within), 100*d.Rate))
	}
	if c.LabRuns == 0 {
		return list
	}
	if lab, here := float64(c.LabGood)/float64(c.LabRuns), c.SimGood/float64(c.LabRuns); math.Abs(lab-here) > points+chance(here, c.LabRuns) {
		list = append(list, fmt.Sprintf("the lab has %.1f %% of all %d runs, the simulator %.1f %%", 100*lab, c.LabRuns, 100*here))
	}
	return list
}

// chance is by how much a rate of so many runs is off in one of twenty cases.
func chance(rate float64, runs int) float64 { return 1.96 * math.Sqrt(rate*(1-rate)/float64(runs)) }
