package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// pairRun is one run of a pair. Times are in milliseconds since the request.
type pairRun struct {
	Direct    bool    `json:"direct"`
	FirstByte float64 `json:"first_byte_ms,omitempty"` // at the responder's target, where it is direct
	Won       victory `json:"won,omitzero"`            // at the initiator's side
	WonThere  victory `json:"won_there,omitzero"`      // at the responder's side
	Ended     float64 `json:"ended_ms,omitempty"`      // when the initiator knew that there is no direct connection
	Reason    string  `json:"reason,omitempty"`        // that it was told
	Error     string  `json:"error,omitempty"`         // the first line of what failed
	// Trace is what both sides did and saw, where that is not direct.
	Trace []string `json:"trace,omitempty"`
}

// maxTrace bounds pairRun.Trace: a plan that runs to its limit has hundreds of events.
const maxTrace = 80

// pairResult is a pair of NATs under one condition.
type pairResult struct {
	A    string    `json:"a"`
	B    string    `json:"b"`
	RTT  float64   `json:"rtt_ms"`
	Loss float64   `json:"loss"`
	Runs []pairRun `json:"runs"`
}

// measurePair runs a cell in a lab of its own, or says why there is none.
func measurePair(ctx context.Context, c cell, runs int, seed uint64) (pairResult, error) {
	r := pairResult{A: c.A, B: c.B, RTT: ms(c.RTT), Loss: c.Loss}
	b, err := newBench(c, seed)
	if err != nil {
		return r, err
	}
	defer b.close()
	for n := range runs {
		if ctx.Err() != nil {
			break
		}
		r.Runs = append(r.Runs, pairRunOf(b.run(n)))
	}
	return r, nil
}

// pairRunOf is what a run comes to. The initiator's word counts: the session is
// there for its user, or the reason why not.
func pairRunOf(o outcome) pairRun {
	if o.Err == nil {
		return pairRun{Direct: true, FirstByte: ms(o.FirstByte), Won: o.Won[0], WonThere: o.Won[1]}
	}
	t := pairRun{}
	text := strings.Split(o.Err.Error(), "\n")
	t.Error, t.Trace = text[0], text[1:min(len(text), maxTrace)]
	var failed *agentError
	if errors.As(o.Err, &failed) && failed.report.Took > 0 {
		t.Ended, t.Reason = ms(failed.report.Took), failed.report.Reason
	}
	return t
}

func (r pairResult) rtt() time.Duration { return time.Duration(r.RTT * float64(time.Millisecond)) }

// floor is the fewest round trips that a run takes. Two hosts on one LAN have only
// those to the server: there is next to none between them.
func (r pairResult) floor() float64 {
	if e, _ := expectations.of(r.A, r.B); e.Rule == lanRule {
		return r.RTT
	}
	return ms(cell{RTT: r.rtt()}.floor())
}

// lanRule is the rule of NAT.md by which hosts on one LAN connect.
const lanRule = "7"

// direct counts the runs that connected, within a time if that is not 0.
func (r pairResult) direct(within time.Duration) (n int) {
	for _, t := range r.Runs {
		if t.Direct && (within == 0 || t.FirstByte <= ms(within)) {
			n++
		}
	}
	return n
}

// firstByte is the time to the first byte that a share of the runs which
// connected did not exceed, such as 0.5 for the median; 0 if none connected.
func (r pairResult) firstByte(share float64) float64 {
	return quantile(r.times(), share)
}

// times are those of the runs that connected, in order.
func (r pairResult) times() (times []float64) {
	for _, t := range r.Runs {
		if t.Direct {
			times = append(times, t.FirstByte)
		}
	}
	slices.Sort(times)
	return times
}

// quantile is the least value that a share of the sorted values does not exceed.
func quantile(sorted []float64, share float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[max(0, int(math.Ceil(share*float64(len(sorted))))-1)]
}

// longestEnd is when the last of the runs without a connection ended.
func (r pairResult) longestEnd() (longest float64) {
	for _, t := range r.Runs {
		longest = max(longest, t.Ended)
	}
	return longest
}

// steps counts what has won, the most frequent first: "dialled observed 9".
func (r pairResult) steps() (list []string) {
	counts := make(map[string]int)
	for _, t := range r.Runs {
		if t.Direct {
			counts[t.Won.step()]++
		}
	}
	for step := range counts {
		list = append(list, step)
	}
	slices.SortFunc(list, func(a, b string) int { return cmp.Or(counts[b]-counts[a], cmp.Compare(a, b)) })
	for i, step := range list {
		list[i] = fmt.Sprintf("%s %d", step, counts[step])
	}
	return list
}

// String is the line of progress.
func (r pairResult) String() string {
	s := fmt.Sprintf("%d/%d direct", r.direct(0), len(r.Runs))
	if r.direct(0) > 0 {
		s += fmt.Sprintf(", first byte median %.0f ms (%.0f over the floor), p95 %.0f ms, %s",
			r.firstByte(0.5), r.firstByte(0.5)-r.floor(), r.firstByte(0.95), strings.Join(r.steps(), ", "))
	}
	if n := len(r.Runs) - r.direct(0); n > 0 {
		s += fmt.Sprintf(", %d without a connection, known after %.0f ms", n, r.longestEnd())
	}
	if misses := r.misses(); len(misses) > 0 {
		s += "; MISS: " + strings.Join(misses, "; ")
	}
	return s
}
