package main

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// simReport is the result of the simulation, and the form of its JSON file.
type simReport struct {
	Provenance provenance   `json:"provenance"`
	Took       string       `json:"took"`
	Matrix     string       `json:"lab_commit,omitempty"` // that the lab's results were measured on
	Runs       int          `json:"lab_runs,omitempty"`   // of each pair there
	Cases      int          `json:"cases"`
	Rate       float64      `json:"cases_per_second"`
	Classes    []*classSum  `json:"classes"`
	Pairs      []*simulated `json:"pairs"`
}

// sum adds the pairs up.
func (r *simReport) sum(took time.Duration) {
	for _, s := range r.Pairs {
		i := slices.IndexFunc(r.Classes, func(c *classSum) bool { return c.Class == s.Class && c.Loss == s.Loss && c.IPv6 == s.IPv6 })
		if i < 0 {
			i = len(r.Classes)
			r.Classes = append(r.Classes, &classSum{Class: s.Class, Loss: s.Loss, IPv6: s.IPv6})
		}
		r.Classes[i].add(s)
		r.Cases += s.Cases
	}
	slices.SortStableFunc(r.Classes, func(a, b *classSum) int {
		rank := func(c *classSum) int {
			return slices.Index(simConditions, simCondition{c.Loss, c.IPv6})*len(classes) + slices.Index(classes, c.Class)
		}
		return rank(a) - rank(b)
	})
	r.Rate = float64(r.Cases) / took.Seconds()
}

// verdict is nil if all is as expected, and as in the lab.
func (r *simReport) verdict() error {
	var bad []string
	for _, c := range r.Classes {
		for _, miss := range c.misses() {
			bad = append(bad, fmt.Sprintf("%s, %v: %s", c.Class, simCondition{c.Loss, c.IPv6}, miss))
		}
	}
	for _, s := range r.Pairs {
		if len(s.Misses) > 0 {
			bad = append(bad, fmt.Sprintf("%v: %s", s, strings.Join(s.Misses, "; ")))
		}
	}
	if len(bad) == 0 {
		return nil
	}
	return errors.New("the simulation is not as it should be:\n" + strings.Join(bad, "\n"))
}

// words is a pair's result in a line.
func (s *simulated) words() string {
	text := fmt.Sprintf("%d of %d direct, median %.0f ms, p95 %.0f ms, %s", s.Good, s.Cases, s.P50, s.P95, strings.Join(s.Won, ", "))
	if len(s.Misses) > 0 {
		text += "; MISS: " + strings.Join(s.Misses, "; ")
	}
	return text
}

// markdown implements proofReport.
func (r *simReport) markdown() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Every pair of NATs in virtual time\n\n%s\n", r.Provenance.heading("sim", r.Took))
	bad, compared := 0, 0
	for _, s := range r.Pairs {
		if len(s.Misses) > 0 {
			bad++
		}
		if s.Lab != nil {
			compared++
		}
	}
	fmt.Fprintf(&b, "**%d cases, %.0f a second; %d of %d pairs and conditions are not as they should be.** Round trip %v, the server in the middle, both nodes have measured their NATs. "+
		"A case runs the very plan and executors of peerd over models of TCP and of the NATs ([punch/sim](../../punch/sim/doc.go)) and depends on its seed alone; the times are those from the request to the first byte, "+
		"as in [the matrix](../matrix.md), without what programs and processors take there, and without what loss does to the handshake of TLS.\n\n", r.Cases, r.Rate, bad, len(r.Pairs), matrixRTT)
	r.rules(&b, compared)
	r.classTable(&b)
	r.missTable(&b)
	for _, c := range simConditions {
		r.pairTable(&b, c)
	}
	return b.Bytes()
}

// rules says how the results are judged.
func (r *simReport) rules(b *bytes.Buffer, compared int) {
	fmt.Fprintf(b, "Judged is each pair by [the table of expectations](../../cmd/natlab/expectations.txt), as the matrix is, and with loss also that 95 %% of its cases take no more than %v unless ports have to be guessed among all. "+
		"With IPv6, every pair must connect, every time.\n\n", lossyLimit)
	if compared == 0 {
		fmt.Fprintf(b, "There were no results of the lab to compare with.\n\n")
		return
	}
	fmt.Fprintf(b, "%d of them are compared with the lab (commit %s, %d runs a pair). \"Within two points\" means, since so few runs do not show a rate: where all of the lab's runs connect, at least 98 %% of the cases do; where none does, at most 2 %%; "+
		"elsewhere, the lab's count is one that chance has in more than one of a thousand pairs at some rate within two points of the simulator's. Cases, too, are counted with that allowance. "+
		"All pairs of a class together must have the lab's rate within two points and the lab's 95 %% interval.\n\n", compared, r.Matrix, r.Runs)
}

func (r *simReport) classTable(b *bytes.Buffer) {
	t := table{Head: []string{"condition", "class", "pairs", "cases", "direct", "in time", "worst pair", "worst p95", "latest end", "same pairs in the lab", "and here", "misses"}}
	for _, c := range r.Classes {
		lab, here := "", ""
		if c.LabRuns > 0 {
			lab = fmt.Sprintf("%d of %d, %.1f %%", c.LabGood, c.LabRuns, 100*float64(c.LabGood)/float64(c.LabRuns))
			here = fmt.Sprintf("%.1f %%", 100*c.SimGood/float64(c.LabRuns))
		}
		misses := append([]string{fmt.Sprintf("%d pairs", c.Misses)}, c.misses()...)
		t.Rows = append(t.Rows, []string{simCondition{c.Loss, c.IPv6}.String(), string(c.Class), fmt.Sprint(c.Pairs), fmt.Sprint(c.Cases),
			fmt.Sprintf("%.2f %%", 100*float64(c.Good)/float64(c.Cases)), fmt.Sprintf("%.2f %%", 100*float64(c.Timed)/float64(c.Cases)), fmt.Sprintf("%.1f %%", 100*c.WorstRate),
			fmt.Sprintf("%.0f ms", c.WorstP95), fmt.Sprintf("%.0f ms", c.WorstEnd), lab, here, strings.Join(misses, "; ")})
	}
	fmt.Fprintf(b, "%s\n", &t)
}

// missTable lists what is not as it should be, with what repeats it.
func (r *simReport) missTable(b *bytes.Buffer) {
	t := table{Head: []string{"pair", "what", "seeds"}}
	for _, s := range r.Pairs {
		if len(s.Misses) > 0 {
			t.Rows = append(t.Rows, []string{s.String(), strings.Join(s.Misses, "; "), strings.Trim(fmt.Sprint(s.Failed), "[]")})
		}
	}
	if len(t.Rows) > 0 {
		fmt.Fprintf(b, "## Not as it should be\n\nA case is told by `go test ./punch/sim -run TestPair -pair 'A × B' -loss 0.02 -seed N`.\n\n%s\n", &t)
	}
}

func (r *simReport) pairTable(b *bytes.Buffer, c simCondition) {
	t := table{Head: []string{"pair", "class", "direct", "median", "p95", "won", "lab"}}
	for _, s := range r.Pairs {
		if s.condition() != c {
			continue
		}
		median, p95 := "", ""
		if s.Good > 0 {
			median, p95 = fmt.Sprintf("%.0f ms", s.P50), fmt.Sprintf("%.0f ms", s.P95)
		} else {
			p95 = fmt.Sprintf("known after %.0f ms", s.Ended)
		}
		lab := ""
		if s.Lab != nil {
			lab = fmt.Sprintf("%d of %d", s.Lab[0], s.Lab[1])
		}
		t.Rows = append(t.Rows, []string{s.A + " × " + s.B, string(s.Class), fmt.Sprintf("%d of %d", s.Good, s.Cases), median, p95, strings.Join(s.Won, ", "), lab})
	}
	if len(t.Rows) > 0 {
		fmt.Fprintf(b, "## All pairs, %v\n\n%s\n", c, &t)
	}
}
