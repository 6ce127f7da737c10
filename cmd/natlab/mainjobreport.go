package main

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// mainJobReport is the result of the main job's proof, and the form of its JSON
// file.
type mainJobReport struct {
	Provenance provenance       `json:"provenance"`
	Took       string           `json:"took"`
	Runs       int              `json:"runs"`
	Cells      []cellResult     `json:"cells"`
	Transfers  []transferResult `json:"transfers"`
}

// verdict is nil if every run of every cell and every transfer succeeded.
func (r mainJobReport) verdict() error {
	bad := 0
	for _, c := range r.Cells {
		bad += c.Runs - c.Direct
	}
	for _, t := range r.Transfers {
		if t.Error != "" {
			bad++
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d runs failed: see the report", bad)
	}
	if median, limit := r.firstByte(); median > limit {
		return fmt.Errorf("the first byte takes %.1f ms over drop and RST pairs at 40 ms, more than %.1f ms", median, limit)
	}
	return nil
}

// firstByte returns the median, over the pairs that drop or answer RST, of the
// cells' median times to the first byte at 40 ms round trip, and what it may be:
// 1.3 times the floor and 10 ms. Both are 0 without such cells.
func (r mainJobReport) firstByte() (median, limit float64) {
	var medians []float64
	for _, c := range r.Cells {
		if c.RTT == 40 && c.Freeze == 0 && !strings.Contains(c.A+c.B, "icmp") {
			medians, limit = append(medians, c.Median), 1.3*c.Floor+10
		}
	}
	if len(medians) == 0 {
		return 0, 0
	}
	slices.Sort(medians)
	return medians[len(medians)/2], limit
}

func (r mainJobReport) markdown() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# The main job: direct connections between two NATed peers\n\n")
	fmt.Fprintf(&b, "%s\n", r.Provenance.heading("main-job", r.Took))
	direct, runs := 0, 0
	for _, c := range r.Cells {
		direct, runs = direct+c.Direct, runs+c.Runs
	}
	fmt.Fprintf(&b, "**%d of %d runs direct**, in %d cells of %d runs. Rows are the initiator's NAT, columns the responder's.\n", direct, runs, len(r.Cells), r.Runs)
	fmt.Fprintf(&b, "A cell says how many runs were direct, and the median and the maximum time in ms from the request to the\nfirst application byte at the peer's target; the floor is that of the fewest round trips, (R_a + R_b) + 2.5 R.\n")
	if median, limit := r.firstByte(); limit > 0 {
		fmt.Fprintf(&b, "\nFirst byte over the pairs that drop or answer RST, at 40 ms: median **%.1f ms**, of at most %.0f ms (1.3 × the floor and 10 ms).\n", median, limit)
	}
	for group := range groups(r.Cells) {
		r.table(&b, group)
	}
	r.transferTable(&b)
	return b.Bytes()
}

// groups yields the cells by round trip and freeze, in order.
func groups(cells []cellResult) func(func([]cellResult) bool) {
	sorted := slices.SortedFunc(slices.Values(cells), byPair)
	return func(yield func([]cellResult) bool) {
		for len(sorted) > 0 {
			n := 1
			for n < len(sorted) && sorted[n].RTT == sorted[0].RTT && sorted[n].Freeze == sorted[0].Freeze {
				n++
			}
			if !yield(sorted[:n]) {
				return
			}
			sorted = sorted[n:]
		}
	}
}

// table writes one group as a matrix.
func (r mainJobReport) table(b *bytes.Buffer, cells []cellResult) {
	fmt.Fprintf(b, "\n## %.0f ms round trip", cells[0].RTT)
	if cells[0].Freeze > 0 {
		fmt.Fprintf(b, ", one side frozen for %.0f ms", cells[0].Freeze)
	}
	fmt.Fprintf(b, " (floor %.0f ms)\n\n|  |", cells[0].Floor)
	for _, p := range pairProfiles {
		fmt.Fprintf(b, " %s |", p)
	}
	fmt.Fprintf(b, "\n|---%s|\n", strings.Repeat("|---", len(pairProfiles)))
	for _, a := range pairProfiles {
		fmt.Fprintf(b, "| %s |", a)
		for _, p := range pairProfiles {
			fmt.Fprintf(b, " %s |", entry(cells, a, p))
		}
		fmt.Fprintln(b)
	}
}

func entry(cells []cellResult, a, b string) string {
	i := slices.IndexFunc(cells, func(c cellResult) bool { return c.A == a && c.B == b })
	if i < 0 {
		return ""
	}
	return fmt.Sprintf("%d/%d %.0f–%.0f", cells[i].Direct, cells[i].Runs, cells[i].Median, cells[i].Max)
}

func (r mainJobReport) transferTable(b *bytes.Buffer) {
	if len(r.Transfers) == 0 {
		return
	}
	good := 0
	for _, t := range r.Transfers {
		if t.Error == "" {
			good++
		}
	}
	fmt.Fprintf(b, "\n## `peerd nc` through two NATs\n\n**%d of %d** transfers of %d MiB in each direction at once, at %v round trip, with the right\nSHA-256 at both ends.\n\n", good, len(r.Transfers), transferSize>>20, transferRTT)
	fmt.Fprintf(b, "| initiator's NAT | responder's NAT | seconds | result |\n|---|---|---|---|\n")
	for _, t := range r.Transfers {
		result := "right"
		if t.Error != "" {
			result = t.Error
		}
		fmt.Fprintf(b, "| %s | %s | %.1f | %s |\n", t.A, t.B, t.Seconds, result)
	}
}
