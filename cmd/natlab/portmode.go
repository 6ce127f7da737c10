package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/peerd/peerd/punch/natlab"
)

// The modes of a node's port, as its status has them.
const (
	shared     = "shared"
	dialOnly   = "dial-only"
	sequential = "sequential"
)

// portModes are how the initiator's and the responder's ports are used; empty is
// what this system allows, and not looked at. An agent is not told: the lab takes
// options from it, and it finds out. The real peerd is (see portmodeoption.go).
type portModes struct{ A, B string }

func (p portModes) String() string { return p.A + " × " + p.B }

// filters take away what the modes have to do without. The two nodes without a
// listener are on two kinds of systems.
func (p portModes) filters() (f [2]natlab.Filter) {
	for i, mode := range []string{p.A, p.B} {
		switch mode {
		case dialOnly:
			f[i] = []natlab.Filter{natlab.DenyReusePort, natlab.IgnoreReusePort}[i]
		case sequential:
			f[i] = natlab.IgnoreReuse
		}
	}
	return f
}

// check compares the modes with those that the nodes have come to.
func (p portModes) check(a, b string) error {
	if p != (portModes{}) && (p != portModes{a, b}) {
		return fmt.Errorf("the nodes use their ports %s × %s instead of %v", a, b, p)
	}
	return nil
}

// modeCase is what every pair of NATs is tried with.
type modeCase struct {
	Ports portModes
	RTT   time.Duration
}

func (m modeCase) String() string { return fmt.Sprintf("%v, %v", m.Ports, m.RTT) }

// portModeClaims are about the main job where ports cannot be shared.
func portModeClaims() []claim {
	const ms = time.Millisecond
	return []claim{
		{"dial-only", "a node that finds out that this system lets no dial share a port with a listener, because SO_REUSEPORT is not there or has no effect, or that has `--port-mode dial-only`, connects through every pair of NATs that drop, answer RST or answer ICMP, to its like at 2, 40 and 200 ms of round trip, and at 40 ms to and from nodes that listen; neither side is frozen",
			nil, pairsInModes(
				modeCase{portModes{dialOnly, dialOnly}, 2 * ms}, modeCase{portModes{dialOnly, dialOnly}, 40 * ms}, modeCase{portModes{dialOnly, dialOnly}, 200 * ms},
				modeCase{portModes{dialOnly, shared}, 40 * ms}, modeCase{portModes{shared, dialOnly}, 40 * ms})},
		{"sequential", "a node that finds out that this system gives a port to one socket at a time, or that has `--port-mode sequential`, connects through every pair of NATs that drop, answer RST or answer ICMP, to its like and to and from nodes that share their port, at 40 ms of round trip; neither side is frozen",
			nil, pairsInModes(
				modeCase{portModes{sequential, sequential}, 40 * ms}, modeCase{portModes{sequential, shared}, 40 * ms}, modeCase{portModes{shared, sequential}, 40 * ms})},
	}
}

// pairsInModes connects through every ordered pair of NATs, or a sample, in all
// of the cases, of which the first has neither port shared. Half of the runs are
// of agents under filters, and half of the real peerd with --port-mode.
func pairsInModes(cases ...modeCase) func(context.Context, ground) (finding, error) {
	return func(ctx context.Context, g ground) (f finding, err error) {
		var cells []cell
		for i, m := range cases {
			for n := range len(pairProfiles) * len(pairProfiles) {
				a, b := pairProfiles[n/len(pairProfiles)], pairProfiles[n%len(pairProfiles)]
				if g.whole || n == samplePairs[i%len(samplePairs)] {
					cells = append(cells, cell{A: a, B: b, RTT: m.RTT, Ports: m.Ports})
				}
			}
		}
		runs := figure(g, 2, wholeRuns)
		results := measure(ctx, cells, figure(g, len(cases), 8), io.Discard, func(ctx context.Context, c cell, seed uint64) cellResult {
			return forceBothWays(ctx, g, c, runs, seed)
		})
		f, err = modesFinding(cases, cells, results)
		filters := cases[0].Ports.filters()
		f.Text += fmt.Sprintf("Of the %d runs of each cell %d are of nodes that find out, under a seccomp filter where a port is not to be shared (initiator: %v; responder: %v), and %d of `peerd ping` and `peerd run` with --port-mode and no filter. "+
			"Times are from the request to the first byte under filters, median–max in ms", runs, runs-runs/2, filters[0], filters[1], runs/2)
		return f, errors.Join(err, ctx.Err()) // without the time not all was run
	}
}

// samplePairs are pairs of different NATs, of those that refuse in different ways. On a
// machine that stands still while a dial is refused by ICMP they need spare ports (ADR 017).
var samplePairs = []int{1*6 + 4, 0*6 + 5, 2*6 + 3} // linux-open × user-rst, linux-drop × user-icmp, linux-icmp × user-drop

// modesFinding counts, and puts the cells of each case in rows of their own.
func modesFinding(cases []modeCase, cells []cell, results []cellResult) (f finding, err error) {
	f.Table = &table{Head: append([]string{"ports", "round trip", "initiator's NAT, and the responder's:"}, pairProfiles...)}
	var failed []error
	for _, m := range cases {
		var of []cellResult
		direct, runs := 0, 0
		for i, r := range results {
			if (modeCase{cells[i].Ports, cells[i].RTT}) != m {
				continue
			}
			of, direct, runs = append(of, r), direct+r.Direct, runs+r.Runs
			for _, failure := range r.Failures {
				first, _, _ := strings.Cut(failure, "\n") // the attempts of both sides follow
				failed = append(failed, fmt.Errorf("%v: %s", cells[i], first))
				f.Failures = append(f.Failures, fmt.Sprintf("%v: %s", cells[i], failure))
			}
		}
		f.Text += fmt.Sprintf("%v: %d of %d direct. ", m, direct, runs)
		f.Table.Rows = append(f.Table.Rows, m.rows(of)...)
	}
	return f, errors.Join(failed...)
}

// rows are a line for every initiator's NAT.
func (m modeCase) rows(of []cellResult) (rows [][]string) {
	for _, a := range pairProfiles {
		if !slices.ContainsFunc(of, func(r cellResult) bool { return r.A == a }) {
			continue
		}
		row := []string{m.Ports.String(), m.RTT.String(), a}
		for _, b := range pairProfiles {
			row = append(row, entry(of, a, b))
		}
		rows = append(rows, row)
	}
	return rows
}
