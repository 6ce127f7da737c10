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
// what this system allows, and not looked at. The nodes are not told: the lab
// takes options from them, and they find out.
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

// portModeClaims are about the main job where ports cannot be shared.
func portModeClaims() []claim {
	return []claim{
		{"dial-only", "a node that finds out that this system lets no dial share a port with a listener, because SO_REUSEPORT is not there or has no effect, connects through every pair of NATs that drop, answer RST or answer ICMP, to nodes that listen and to nodes that do not",
			nil, pairsInModes(portModes{dialOnly, dialOnly}, portModes{dialOnly, shared}, portModes{shared, dialOnly})},
		{"sequential", "a node that finds out that this system gives a port to one socket at a time connects through every pair of NATs that drop, answer RST or answer ICMP, to nodes that share their port and to its like",
			nil, pairsInModes(portModes{sequential, sequential}, portModes{sequential, shared}, portModes{shared, sequential})},
	}
}

// modeRTT is the round trip of these pairs.
const modeRTT = 40 * time.Millisecond

// pairsInModes connects through every ordered pair of NATs, or a sample, in all
// of the modes.
func pairsInModes(modes ...portModes) func(context.Context, ground) (finding, error) {
	return func(ctx context.Context, g ground) (f finding, err error) {
		var cells []cell
		for i, m := range modes {
			for n := range len(pairProfiles) * len(pairProfiles) {
				a, b := pairProfiles[n/len(pairProfiles)], pairProfiles[n%len(pairProfiles)]
				if g.whole || n == samplePairs[i%len(samplePairs)] {
					cells = append(cells, cell{A: a, B: b, RTT: modeRTT, Ports: m})
				}
			}
		}
		results := measure(ctx, cells, figure(g, 2, wholeRuns), figure(g, len(modes), 8), io.Discard)
		f, err = modesFinding(modes, cells, results)
		return f, errors.Join(err, ctx.Err()) // without the time not all was run
	}
}

// samplePairs are pairs of different NATs, of those that refuse in different ways.
var samplePairs = []int{1*6 + 4, 0*6 + 5, 2*6 + 3} // linux-open × user-rst, linux-drop × user-icmp, linux-icmp × user-drop

// modesFinding counts, and puts the cells of each mode in rows of their own.
func modesFinding(modes []portModes, cells []cell, results []cellResult) (f finding, err error) {
	f.Table = &table{Head: append([]string{"ports", "initiator's NAT, and the responder's:"}, pairProfiles...)}
	var failed []error
	for _, m := range modes {
		var of []cellResult
		direct, runs := 0, 0
		for i, r := range results {
			if cells[i].Ports != m {
				continue
			}
			of, direct, runs = append(of, r), direct+r.Direct, runs+r.Runs
			for _, failure := range r.Failures {
				first, _, _ := strings.Cut(failure, "\n") // the attempts of both sides follow
				failed = append(failed, fmt.Errorf("%v: %s", cells[i], first))
			}
		}
		f.Text += fmt.Sprintf("%v: %d of %d direct. ", m, direct, runs)
		for _, a := range pairProfiles {
			if !slices.ContainsFunc(of, func(r cellResult) bool { return r.A == a }) {
				continue
			}
			row := []string{m.String(), a}
			for _, b := range pairProfiles {
				row = append(row, entry(of, a, b))
			}
			f.Table.Rows = append(f.Table.Rows, row)
		}
	}
	return f, errors.Join(failed...)
}
