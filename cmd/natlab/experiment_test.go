package main

import (
	"cmp"
	"flag"
	"slices"
	"testing"
	"time"

	"github.com/peerd/peerd/punch/natlab"
)

// sampleCells are cells of the matrix that prove runs in full: every profile on
// both sides, every answer against every other, every round trip and freeze.
func sampleCells() []cell {
	const ms = time.Millisecond
	return []cell{
		{A: "linux-drop", B: "user-drop", RTT: 40 * ms},
		{A: "user-drop", B: "linux-drop", RTT: 200 * ms, Freeze: 500 * ms},
		{A: "linux-open", B: "linux-open", RTT: 40 * ms, Freeze: 500 * ms},
		{A: "linux-open", B: "user-rst", RTT: 2 * ms},
		{A: "user-rst", B: "user-rst", RTT: 2 * ms, Freeze: 500 * ms},
		{A: "linux-icmp", B: "user-icmp", RTT: 40 * ms, Freeze: 500 * ms},
		{A: "user-icmp", B: "linux-icmp", RTT: 200 * ms},
		{A: "linux-drop", B: "linux-open", RTT: 2 * ms, Freeze: 500 * ms},
		{A: "user-rst", B: "linux-drop", RTT: 40 * ms},
		{A: "linux-icmp", B: "user-drop", RTT: 2 * ms, Freeze: 500 * ms},
		{A: "linux-open", B: "user-icmp", RTT: 200 * ms, Freeze: 500 * ms},
		{A: "openwrt", B: "linux-open", RTT: 40 * ms, Freeze: 500 * ms},
	}
}

// TestPairsSample connects through a sample of the pairs of NATs, for real. The
// full matrix is for the prove command.
func TestPairsSample(t *testing.T) {
	natlab.Require(t)
	for i, c := range sampleCells() {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			r := measureCell(t.Context(), c, 2, uint64(i))
			if r.Direct != r.Runs {
				t.Errorf("%v", r)
			}
		})
	}
}

// BenchmarkFirstByte measures the time from the request to the first
// application byte at the peer's target, between in-process peers that are both
// registered, over the pairs of NATs that drop or answer RST, at 40 ms. It
// prints the median, the floor of NAT.md and their ratio.
func BenchmarkFirstByte(b *testing.B) {
	natlab.Require(b)
	var all []time.Duration
	var floor time.Duration
	for _, profiles := range plainPairs {
		c := cell{A: profiles[0], B: profiles[1], RTT: 40 * time.Millisecond}
		floor = c.floor()
		all = append(all, firstBytes(b, c, max(3, b.N))...)
	}
	slices.SortFunc(all, cmp.Compare)
	median := all[len(all)/2]
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ms(median), "ms-median")
	b.ReportMetric(ms(all[len(all)*9/10]), "ms-p90")
	b.ReportMetric(ms(floor), "ms-floor")
	b.ReportMetric(float64(median)/float64(floor), "of-floor")
}

// plainPairs are pairs that plain dials get through.
var plainPairs = [][2]string{
	{"linux-drop", "linux-drop"}, {"linux-drop", "user-drop"}, {"linux-open", "linux-open"},
	{"linux-open", "user-rst"}, {"user-rst", "user-rst"}, {"linux-drop", "linux-open"}, {"user-rst", "linux-drop"},
}

// BenchmarkPlainPairsWithReports measures what discovery and the ladder cost the
// pairs that need neither: runs between nodes that have measured their NATs and
// tell each other, and by turns, in the same lab, such between nodes that have
// not. It prints both medians and their ratio.
func BenchmarkPlainPairsWithReports(b *testing.B) {
	natlab.Require(b)
	var times [2][]time.Duration
	for _, profiles := range plainPairs {
		lab, err := newBench(cell{A: profiles[0], B: profiles[1], RTT: 40 * time.Millisecond}, 1)
		if err != nil {
			b.Fatal(err)
		}
		for n := range 2 * max(3, b.N) {
			lab.cell.Reports = [2]bool{n%2 == 1, n%2 == 1}
			o := lab.run(n)
			if o.Err != nil {
				b.Fatal(o.Err)
			}
			times[n%2] = append(times[n%2], o.FirstByte)
		}
		lab.close()
	}
	var medians [2]time.Duration
	for i := range times {
		slices.SortFunc(times[i], cmp.Compare)
		medians[i] = times[i][len(times[i])/2]
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(ms(medians[0]), "ms-without")
	b.ReportMetric(ms(medians[1]), "ms-with")
	b.ReportMetric(float64(medians[1])/float64(medians[0]), "ratio")
}

func firstBytes(b *testing.B, c cell, runs int) (times []time.Duration) {
	lab, err := newBench(c, 1)
	if err != nil {
		b.Fatal(err)
	}
	defer lab.close()
	for n := range runs {
		o := lab.run(n)
		if o.Err != nil {
			b.Fatal(o.Err)
		}
		times = append(times, o.FirstByte)
	}
	return times
}

var replay = flag.String("cell", "", "run only this cell of the matrix, as the report names it, and print each run")

// TestCell repeats one cell of the matrix, for looking into it.
func TestCell(t *testing.T) {
	if *replay == "" {
		return
	}
	for i, c := range pairCells() {
		if c.String() != *replay {
			continue
		}
		lab, err := newBench(c, uint64(i))
		if err != nil {
			t.Fatal(err)
		}
		defer lab.close()
		for n := range 20 {
			o := lab.run(n)
			t.Log(o.FirstByte, o.Connected, o.Err)
		}
	}
}
