package main

import (
	"maps"
	"slices"
	"testing"

	"github.com/peerd/peerd/punch/natlab"
	"github.com/peerd/peerd/punch/sim"
)

// What the simulator's nodes state of their NATs is what the lab's nodes find out.
func TestSimulatedReports(t *testing.T) {
	for name, b := range natlab.Expectations() {
		lab, err := natlab.ProfileByName(name)
		if err != nil {
			t.Fatal(err)
		}
		p, err := sim.ProfileByName(name)
		if err != nil {
			t.Fatal(err)
		}
		if b.Late {
			b.Unsolicited = natlab.Silent // the probe beside doctor does not wait for it
		}
		r := p.Report()
		got := diagnosed{
			"mapping": r.Mapping.String(), "allocation": r.Allocation.String(), "filtering": r.Filtering.String(), "unsolicited": r.Unsolicited.String(),
			"crossing": r.Crossing.String(), "on_reset": r.OnReset.String(), "hairpin": r.Hairpin.String(), "proxied": r.Proxied.String(), "pooling": r.Pooling.String(),
			"poisoned": r.Poisoned.String(),
		}
		want := expectedReport(lab, b, true)
		for _, field := range slices.Sorted(maps.Keys(want)) {
			if have, known := got[field]; known && have != want[field] {
				t.Errorf("%s: %s is %s in the simulator, and %s in the lab", name, field, have, want[field])
			}
		}
	}
}

func TestDiffers(t *testing.T) {
	for _, c := range []struct {
		good, cases, d, runs int
		want                 bool
	}{
		{1000, 1000, 10, 10, false},
		{975, 1000, 10, 10, false}, // chance has that at 98 %
		{940, 1000, 10, 10, true},
		{0, 1000, 0, 10, false},
		{60, 1000, 0, 10, true},
		{1000, 1000, 9, 10, false}, // at 98 % one of ten fails every fifth time
		{1000, 1000, 5, 10, true},
		{0, 1000, 5, 10, true},
		{950, 1000, 8, 10, false},
		{500, 1000, 5, 10, false},
	} {
		if got := differs(c.good, c.cases, c.d, c.runs); got != c.want {
			t.Errorf("%d of %d here and %d of %d in the lab: differs %t", c.good, c.cases, c.d, c.runs, got)
		}
	}
}

// The sum of a class is compared more closely than its pairs.
func TestClassSum(t *testing.T) {
	var c classSum
	c.Class = classPredicted
	for range 20 {
		c.add(&simulated{Class: classPredicted, Cases: 100, Good: 90, Timed: 90, Lab: &[2]int{10, 10}})
	}
	if got := c.misses(); len(got) != 2 {
		t.Errorf("%q; want too few in time, and a difference from the lab", got)
	}
	c = classSum{Class: classPredicted}
	for range 20 {
		c.add(&simulated{Class: classPredicted, Cases: 100, Good: 99, Timed: 99, Lab: &[2]int{10, 10}})
	}
	if got := c.misses(); len(got) != 0 {
		t.Errorf("%q; want none", got)
	}
}

// A small part of the proof.
func TestSimulate(t *testing.T) {
	s := &simulated{A: "linux-drop", B: "openwrt", Class: classDirect, Loss: 0, Seed: 1, Cases: 20}
	s.run(t.Context())
	if s.Good != 20 || s.P50 < 140 || s.P50 > 200 || len(s.Won) == 0 || len(s.Misses) > 0 {
		t.Errorf("%s", s.words())
	}
	s = &simulated{A: "pfsense", B: "pfsense", Class: classHopeless, Seed: 1, Cases: 20}
	s.run(t.Context())
	if s.Good != 0 || s.Ended == 0 || len(s.Misses) > 0 {
		t.Errorf("%s", s.words())
	}
	rep := &simReport{Pairs: []*simulated{s}}
	rep.sum(1)
	if err := rep.verdict(); err != nil || len(rep.markdown()) == 0 {
		t.Error(err)
	}
}
