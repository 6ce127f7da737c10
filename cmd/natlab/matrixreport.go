package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// matrixReport is the result of a matrix, and the form of its JSON file.
type matrixReport struct {
	Provenance provenance    `json:"provenance"`
	Took       string        `json:"took"`
	Runs       int           `json:"runs"`
	Pairs      []pairResult  `json:"pairs"`
	Field      fieldEstimate `json:"field"`
}

// write writes all files.
func (r matrixReport) write(dir string) error {
	r.Field = estimate(r.Pairs)
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	files := map[string][]byte{"matrix.json": append(data, '\n'), "matrix.md": r.markdown(), "matrix.csv": r.csv()}
	for _, group := range conditions(r.Pairs) {
		files[heatMapName(group)] = heatMap(group)
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func heatMapName(group []pairResult) string {
	return "heatmap-" + conditionOf(group[0]).slug() + ".svg"
}

// verdict is nil if the results are what was expected.
func (r matrixReport) verdict() error {
	var list []error
	for _, p := range r.Pairs {
		for _, miss := range p.misses() {
			list = append(list, fmt.Errorf("%s × %s, %v: %s", p.A, p.B, conditionOf(p), miss))
		}
	}
	for _, miss := range classMisses(r.Pairs) {
		list = append(list, errors.New(miss))
	}
	const shown = 5
	if n := len(list); n > shown {
		list = append(list[:shown:shown], fmt.Errorf("and %d more: see the report", n-shown))
	}
	return errors.Join(list...)
}

func (r matrixReport) markdown() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Every pair of NATs\n\nMeasured by `natlab matrix` on commit %s, %s, in %s.\n%s, %s, %d CPUs. How to read this: [docs/matrix.md](../matrix.md). The same as [CSV](matrix.csv) and, with every run, as [JSON](matrix.json).\n",
		r.Provenance.Commit, r.Provenance.Date, r.Took, r.Provenance.System, r.Provenance.Go, r.Provenance.CPUs)
	for _, group := range conditions(r.Pairs) {
		fmt.Fprintf(&b, "\n## %v of round trip\n\n", conditionOf(group[0]))
		writeClasses(&b, group)
		fmt.Fprintf(&b, "\n![%v](%s)\n\n", conditionOf(group[0]), heatMapName(group))
		writeSquare(&b, group)
	}
	writeMisses(&b, r.Pairs)
	writeField(&b, r.Field)
	return b.Bytes()
}

// writeClasses compares each class with what it demands.
func writeClasses(b *bytes.Buffer, group []pairResult) {
	fmt.Fprintf(b, "| class | pairs | runs | connect | 95 %% interval | demanded | what has won at the initiator's side |\n|---|---|---|---|---|---|---|\n")
	for _, c := range classes {
		t := tallyOf(group, c)
		if t.Pairs == 0 {
			continue
		}
		share := float64(t.Direct) / float64(max(1, t.Runs))
		interval := wilson(share, float64(max(1, t.Runs)))
		demanded := fmt.Sprintf("%.0f %%%s", 100*demands[c].Rate, within(demands[c].Within))
		switch c {
		case classApart:
			demanded = "none, and a reason"
		case classHopeless:
			demanded = fmt.Sprintf("none, and the reason within %v", hopelessLimit(conditionOf(group[0]).RTT))
		}
		fmt.Fprintf(b, "| %s | %d | %d | %d, %.1f %% | %.1f–%.1f %% | %s | %s |\n", c, t.Pairs, t.Runs, t.Direct, 100*share,
			100*interval[0], 100*interval[1], demanded, strings.Join(stepsOf(group, c), ", "))
	}
}

// stepsOf counts what has won in a class.
func stepsOf(group []pairResult, c class) []string {
	var all pairResult
	for _, r := range group {
		if e, known := expectations.of(r.A, r.B); known && e.Class == c {
			all.Runs = append(all.Runs, r.Runs...)
		}
	}
	return all.steps()
}

// profilesIn are the profiles of results, in the order of the expectations.
func profilesIn(results []pairResult) []string {
	return slices.DeleteFunc(slices.Clone(expectations.names), func(name string) bool {
		return !slices.ContainsFunc(results, func(r pairResult) bool { return r.A == name || r.B == name })
	})
}

// find returns the result of a pair, or nil.
func find(group []pairResult, a, b string) *pairResult {
	i := slices.IndexFunc(group, func(r pairResult) bool { return r.A == a && r.B == b })
	if i < 0 {
		return nil
	}
	return &group[i]
}

// writeSquare writes the pairs as a table; the columns are numbered as the rows.
func writeSquare(b *bytes.Buffer, group []pairResult) {
	names := profilesIn(group)
	fmt.Fprintf(b, "Rows are the initiator's NAT, columns the responder's, by the rows' numbers. An entry is the number of runs that connected, the\nmedian time over the floor of %.0f ms, and ! for a miss.\n\n| |", ms(cell{RTT: group[0].rtt()}.floor()))
	for i := range names {
		fmt.Fprintf(b, " %d |", i+1)
	}
	fmt.Fprintf(b, "\n|---%s|\n", strings.Repeat("|---", len(names)))
	for i, a := range names {
		fmt.Fprintf(b, "| %d %s |", i+1, a)
		for _, c := range names {
			fmt.Fprintf(b, " %s |", squareEntry(find(group, a, c)))
		}
		fmt.Fprintln(b)
	}
}

func squareEntry(r *pairResult) string {
	if r == nil {
		return ""
	}
	s := fmt.Sprintf("%d/%d", r.direct(0), len(r.Runs))
	if r.direct(0) > 0 {
		s += fmt.Sprintf(" %+.0f", r.firstByte(0.5)-r.floor())
	}
	if len(r.misses()) > 0 {
		s += " !"
	}
	return s
}

func writeMisses(b *bytes.Buffer, results []pairResult) {
	fmt.Fprintf(b, "\n## What falls short of the expectations\n\n")
	n := 0
	for _, miss := range classMisses(results) {
		fmt.Fprintf(b, "- %s\n", miss)
		n++
	}
	for _, r := range results {
		for _, miss := range r.misses() {
			fmt.Fprintf(b, "- %s × %s, %v: %s\n", r.A, r.B, conditionOf(r), miss)
			n++
		}
	}
	if n == 0 {
		fmt.Fprintf(b, "Nothing.\n")
	}
}

func writeField(b *bytes.Buffer, f fieldEstimate) {
	fmt.Fprintf(b, "\n## The field\n\n")
	for line := range strings.Lines(f.text()) {
		fmt.Fprintf(b, "- %s", line)
	}
	fmt.Fprintf(b, "\n| a host behind | weight | connects to the others | of whose weight was measured |\n|---|---|---|---|\n")
	for _, p := range f.Profiles {
		success := "not measured"
		if p.Covered > 0 {
			success = fmt.Sprintf("%.1f %%", 100*p.Success)
		}
		fmt.Fprintf(b, "| %s | %.1f %% | %s | %.1f %% |\n", p.Name, 100*p.Weight, success, 100*p.Covered)
	}
	fmt.Fprintf(b, "\n| figure | value | bounds | source |\n|---|---|---|---|\n")
	for _, p := range prevalences {
		bounds := "-"
		if p.Low < p.High {
			bounds = fmt.Sprintf("%.3g–%.3g %%", 100*p.Low, 100*p.High)
		}
		fmt.Fprintf(b, "| %s | %.1f %% | %s | %s |\n", p.Name, 100*p.Value, bounds, p.Source)
	}
}

// csvHead names the columns of the CSV file.
var csvHead = []string{"initiator", "responder", "rtt_ms", "loss", "class", "rule", "runs", "direct",
	"first_byte_median_ms", "first_byte_p95_ms", "first_byte_max_ms", "floor_ms", "over_floor_ms", "longest_end_ms", "won", "miss"}

func (r matrixReport) csv() []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	w.Write(csvHead)
	for _, p := range r.Pairs {
		w.Write(p.csvLine())
	}
	w.Flush()
	return b.Bytes()
}

func (r pairResult) csvLine() []string {
	e, _ := expectations.of(r.A, r.B)
	number := func(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) }
	times := []string{"", "", "", number(r.floor()), ""}
	if r.direct(0) > 0 {
		median := r.firstByte(0.5)
		times = []string{number(median), number(r.firstByte(0.95)), number(r.firstByte(1)), number(r.floor()), strconv.FormatFloat(median-r.floor(), 'f', 3, 64)}
	}
	end := ""
	if longest := r.longestEnd(); longest > 0 {
		end = number(longest)
	}
	line := append([]string{r.A, r.B, number(r.RTT), number(r.Loss), string(e.Class), e.Rule, strconv.Itoa(len(r.Runs)), strconv.Itoa(r.direct(0))}, times...)
	return append(line, end, strings.Join(r.steps(), "; "), strings.Join(r.misses(), "; "))
}
