package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"
)

// mainJob runs every cell of the matrix and the transfers.
func (p *proof) mainJob(ctx context.Context, g ground, progress io.Writer) (proofReport, error) {
	began := time.Now()
	cells := measure(ctx, p.cells, p.parallel, progress, func(ctx context.Context, c cell, seed uint64) cellResult {
		return measureCell(ctx, c, p.runs, seed)
	})
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	transfers, err := p.transfers(ctx, g, progress)
	if err != nil {
		return nil, err
	}
	return mainJobReport{Provenance: p.where, Took: sinceBegan(began), Runs: p.runs, Cells: cells, Transfers: transfers}, nil
}

// mainJobPart reports whether --only leaves anything of the main job.
func (p *proof) mainJobPart() bool {
	return len(p.cells) > 0 || p.wanted.MatchString(transfersName)
}

// pairProfiles are the NATs of the matrix: the kernel's and the userspace one,
// each of which drops, answers RST or answers ICMP.
var pairProfiles = []string{"linux-drop", "linux-open", "linux-icmp", "user-drop", "user-rst", "user-icmp"}

// pairCells returns every ordered pair at every round trip, without and with
// one side frozen.
func pairCells() (cells []cell) {
	for _, a := range pairProfiles {
		for _, b := range pairProfiles {
			for _, rtt := range []time.Duration{2, 40, 200} {
				for _, freeze := range []time.Duration{0, 500} {
					cells = append(cells, cell{A: a, B: b, RTT: rtt * time.Millisecond, Freeze: freeze * time.Millisecond})
				}
			}
		}
	}
	return cells
}

// cellResult sums a cell's runs up. Times are in milliseconds.
type cellResult struct {
	A        string   `json:"a"`
	B        string   `json:"b"`
	RTT      float64  `json:"rtt_ms"`
	Freeze   float64  `json:"freeze_ms"`
	Direct   int      `json:"direct"`
	Runs     int      `json:"runs"`
	Median   float64  `json:"first_byte_median_ms"`
	Max      float64  `json:"first_byte_max_ms"`
	Floor    float64  `json:"floor_ms"` // of NAT.md, for a first contact; the freeze not counted
	Failures []string `json:"failures,omitempty"`
}

// measure runs the cells, several labs at a time, each as one does, and tells of
// each.
func measure[R any](ctx context.Context, cells []cell, parallel int, progress io.Writer, one func(context.Context, cell, uint64) R) []R {
	results := make([]R, len(cells))
	next := make(chan int)
	var workers sync.WaitGroup
	var printing sync.Mutex
	for range parallel {
		workers.Go(func() {
			for i := range next {
				results[i] = one(ctx, cells[i], uint64(i))
				printing.Lock()
				fmt.Fprintf(progress, "%d/%d %s: %v\n", i+1, len(cells), cells[i], results[i])
				printing.Unlock()
			}
		})
	}
	for i := range cells {
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	workers.Wait()
	return results
}

// measureCell runs one cell in a lab of its own.
func measureCell(ctx context.Context, c cell, runs int, seed uint64) cellResult {
	b, err := newBench(c, seed)
	if err != nil {
		return c.unmeasured(runs, err)
	}
	defer b.close()
	return b.measure(ctx, runs, b.run)
}

// unmeasured is the result of a cell of which nothing has run yet, or cannot run
// at all.
func (c cell) unmeasured(runs int, why error) cellResult {
	r := cellResult{A: c.A, B: c.B, RTT: ms(c.RTT), Freeze: ms(c.Freeze), Runs: runs, Floor: ms(c.floor())}
	if why != nil {
		r.Failures = append(r.Failures, why.Error())
	}
	return r
}

// measure makes the runs and sums them up; the times are of those that were timed.
func (b *bench) measure(ctx context.Context, runs int, run func(n int) outcome) cellResult {
	r := b.cell.unmeasured(runs, nil)
	var times []time.Duration
	for n := range runs {
		if ctx.Err() != nil {
			break
		}
		o := run(n)
		if o.Err != nil {
			r.Failures = append(r.Failures, fmt.Sprintf("run %d: %v", n, o.Err))
			continue
		}
		r.Direct++
		if o.FirstByte != 0 {
			times = append(times, o.FirstByte)
		}
	}
	if len(times) > 0 {
		slices.Sort(times)
		r.Median, r.Max = ms(times[len(times)/2]), ms(times[len(times)-1])
	}
	return r
}

// floor is the fewest round trips from the request to the first application
// byte at a first contact: (R_a + R_b) + 2.5 R (NAT.md); the server is in the
// middle, so R_a + R_b = R.
func (c cell) floor() time.Duration { return c.RTT + c.RTT*5/2 }

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }

// String is the line of progress.
func (r cellResult) String() string {
	s := fmt.Sprintf("%d/%d direct, first byte median %.1f ms, max %.1f ms", r.Direct, r.Runs, r.Median, r.Max)
	return strings.Join(append([]string{s}, r.Failures...), "\n  ")
}

// byPair orders results for the table.
func byPair(a, b cellResult) int {
	return cmp.Or(
		cmp.Compare(a.RTT, b.RTT), cmp.Compare(a.Freeze, b.Freeze),
		cmp.Compare(slices.Index(pairProfiles, a.A), slices.Index(pairProfiles, b.A)),
		cmp.Compare(slices.Index(pairProfiles, a.B), slices.Index(pairProfiles, b.B)),
	)
}
