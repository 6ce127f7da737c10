package main

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func near(a, b float64) bool { return math.Abs(a-b) < 1e-9 }

// The weights are shares of all hosts in every case, and the nominal ones come to
// the share of endpoint-independent mapping that they claim.
func TestWeights(t *testing.T) {
	n := 0
	cases(func(v values) {
		n++
		total := 0.0
		for name, w := range v.weights() {
			if w < -1e-12 || w > 1 {
				t.Fatalf("%v: %s has %v", v, name, w)
			}
			total += w
		}
		if !near(total, 1) {
			t.Fatalf("%v: the weights add up to %v", v, total)
		}
	})
	if n != 15*gridPoints*gridPoints*gridPoints { // of two shares of a whole, 15 of 25 fit
		t.Errorf("%d cases", n)
	}
	w := nominal().weights()
	if eim := 1 - w["sym-seq"] - w["cgn-sym-block"] - w["cellular-seq"]; math.Abs(eim-0.80) > 0.005 {
		t.Errorf("%.3f of the hosts have endpoint-independent mapping, not 0.80", eim)
	}
	for name := range w {
		if !slices.Contains(expectations.names, name) {
			t.Errorf("%s has a weight and no expectation", name)
		}
	}
}

// Every figure names its source and stays within its bounds.
func TestPrevalences(t *testing.T) {
	for _, p := range prevalences {
		tagged := strings.HasPrefix(p.Source, "[P] ") || strings.HasPrefix(p.Source, "[R] ") || strings.HasPrefix(p.Source, "[A] ")
		if !tagged || p.Name == "" || p.Low > p.Value || p.Value > p.High || p.Low < 0 || p.High > 1 {
			t.Errorf("%+v", p)
		}
	}
}

// With all pairs at one share, that is the estimate, whatever the weights.
func TestEstimateOfEvenResults(t *testing.T) {
	var results []pairResult
	for a := range nominal().weights() {
		for b := range nominal().weights() {
			results = append(results, pairResult{A: a, B: b, RTT: 40, Runs: runsOf(8, 150, 2, 300, "no")})
		}
	}
	f := estimate(results)
	if !near(f.Success, 0.8) || !near(f.Covered, 1) || !near(f.Range[0], 0.8) || !near(f.Range[1], 0.8) || !near(f.AnyResult[0], 0.8) || !near(f.AnyResult[1], 0.8) {
		t.Errorf("%+v", f)
	}
	if f.Interval[0] >= 0.8 || f.Interval[1] <= 0.8 || f.Interval[1]-f.Interval[0] > 0.15 {
		t.Errorf("interval %v", f.Interval)
	}
}

// One pair is what the estimate can say something of, and no more.
func TestEstimateOfAPart(t *testing.T) {
	f := estimate([]pairResult{
		{A: "linux-drop", B: "linux-drop", RTT: 40, Runs: runsOf(5, 150, 5, 300, "no")},
		{A: "linux-drop", B: "linux-drop", RTT: 100, Runs: runsOf(10, 150, 0, 0, "")},
		{A: "user-drop", B: "user-drop", RTT: 40, Runs: runsOf(0, 0, 10, 300, "no weight")},
	})
	w := nominal().weights()["linux-drop"]
	if !near(f.Success, 0.75) || !near(f.Covered, w*w) || !near(f.AnyResult[0], 0.75*w*w) || !near(f.AnyResult[1], 1-0.25*w*w) {
		t.Errorf("%+v", f)
	}
	if want := wilson(0.75, 20); !near(f.Interval[0], want[0]) || !near(f.Interval[1], want[1]) {
		t.Errorf("interval %v, want that of 15 of 20, %v", f.Interval, want)
	}
	if f := estimate(nil); f.Covered != 0 || f.Range != [2]float64{0, 1} || !strings.Contains(f.text(), "was measured") {
		t.Errorf("%+v", f)
	}
}

// The interval is that of the textbooks: 8 of 10 is 49.0 to 94.3 %.
func TestWilson(t *testing.T) {
	for _, c := range []struct{ p, n, low, high float64 }{{0.8, 10, 0.490, 0.943}, {1, 10, 0.722, 1}, {0, 10, 0, 0.278}} {
		if got := wilson(c.p, c.n); math.Abs(got[0]-c.low) > 0.001 || math.Abs(got[1]-c.high) > 0.001 {
			t.Errorf("%v of %v: %v", c.p, c.n, got)
		}
	}
}

// The uncertain weights move the estimate where the results differ between NATs.
func TestEstimateRange(t *testing.T) {
	var results []pairResult
	w := nominal().weights()
	for a := range w {
		for b := range w {
			runs := runsOf(10, 150, 0, 0, "")
			if e, _ := expectations.of(a, b); !e.Class.connects() {
				runs = runsOf(0, 0, 10, 300, "hopeless")
			}
			results = append(results, pairResult{A: a, B: b, RTT: 40, Runs: runs})
		}
	}
	f := estimate(results)
	if !(f.Range[0] < f.Success && f.Success < f.Range[1]) || f.Range[1] != 1 {
		t.Errorf("%v in %v", f.Success, f.Range)
	}
}
