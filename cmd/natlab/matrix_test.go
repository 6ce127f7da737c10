package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerd/peerd/punch/natlab"
)

// runsOf makes runs: n that connect after a time in ms, and some that do not,
// which end after another.
func runsOf(n int, firstByte float64, failed int, ended float64, reason string) (runs []pairRun) {
	for range n {
		runs = append(runs, pairRun{Direct: true, FirstByte: firstByte, Won: victory{How: "dialled", Kind: "observed", Attempt: 1}})
	}
	for range failed {
		runs = append(runs, pairRun{Ended: ended, Reason: reason, Error: "A: no"})
	}
	return runs
}

func TestMisses(t *testing.T) {
	for _, c := range []struct {
		what string
		a, b string
		loss float64
		runs []pairRun
		want string // "" is well
	}{
		{"all connect", "linux-drop", "openwrt", 0, runsOf(10, 150, 0, 0, ""), ""},
		{"all connect, but late: a plain pair is judged by its rate", "linux-drop", "openwrt", 0, runsOf(10, 3000, 0, 0, ""), ""},
		{"one of ten does not", "linux-drop", "openwrt", 0, runsOf(9, 150, 1, 12000, "no"), "direct: 9 of 10 connect"},
		{"loss, in time", "linux-drop", "openwrt", 0.02, runsOf(10, 1900, 0, 0, ""), ""},
		{"loss, late", "linux-drop", "openwrt", 0.02, runsOf(10, 2100, 0, 0, ""), "95 % take 2100 ms, not 2000 ms"},
		{"chance explains two of ten at 95 %", "linux-drop", "sym-seq", 0, runsOf(8, 150, 2, 12000, "no"), ""},
		{"but not half", "linux-drop", "sym-seq", 0, runsOf(5, 150, 5, 12000, "no"), "predicted: 5 of 10 connect"},
		{"half of sequential × sequential", "sym-seq", "sym-seq", 0, runsOf(4, 150, 6, 12000, "no"), "sequential: 4 of 10 connect"},
		{"a block in 1.9 s", "linux-drop", "cgn-sym-block", 0, runsOf(10, 1900, 0, 0, ""), ""},
		{"a block in 2.1 s", "linux-drop", "cgn-sym-block", 0, runsOf(10, 2100, 0, 0, ""), "block: 0 of 10 connect within 2s"},
		{"random in 4.9 s", "asa", "linux-drop", 0, runsOf(10, 4900, 0, 0, ""), ""},
		{"random in 5.1 s", "asa", "linux-drop", 0, runsOf(10, 5100, 0, 0, ""), "random: 0 of 10 connect within 5s"},
		{"hopeless, known in time", "asa", "pfsense", 0, runsOf(0, 0, 10, 579, "both random"), ""},
		{"hopeless, known late", "asa", "pfsense", 0, runsOf(0, 0, 10, 581, "both random"), "not known to be after 580 ms"},
		{"hopeless, without a reason", "asa", "pfsense", 0, runsOf(0, 0, 10, 100, ""), "10 of 10 give no reason"},
		{"hopeless, never ended", "asa", "pfsense", 0, runsOf(0, 0, 1, 0, "both random"), "1 of 1 are not known"},
		{"hopeless, and connects", "asa", "pfsense", 0, runsOf(1, 150, 9, 100, "both random"), "so the rule does not hold"},
		{"apart, and the plan was needed to know", "same-cgn", "same-cgn", 0, runsOf(0, 0, 10, 12_300, "no connection"), ""},
		{"apart, without a reason", "same-cgn", "same-cgn", 0, runsOf(0, 0, 10, 12_300, ""), "10 of 10 give no reason"},
		{"apart, and connects", "same-cgn", "same-cgn", 0, runsOf(1, 150, 9, 100, "no connection"), "so the rule does not hold"},
		{"nothing was run", "linux-drop", "openwrt", 0, nil, "nothing was run"},
		{"an unknown profile", "linux-drop", "new", 0, runsOf(10, 150, 0, 0, ""), "there is no expectation"},
	} {
		r := pairResult{A: c.a, B: c.b, RTT: 40, Loss: c.loss, Runs: c.runs}
		got := strings.Join(r.misses(), "; ")
		if (got == "") != (c.want == "") || !strings.Contains(got, c.want) {
			t.Errorf("%s: %q, want %q", c.what, got, c.want)
		}
	}
}

// A rate that each pair alone might have missed by chance is held by all
// together.
func TestClassMisses(t *testing.T) {
	var results []pairResult
	for range 10 {
		results = append(results, pairResult{A: "linux-drop", B: "sym-seq", RTT: 40, Runs: runsOf(9, 150, 1, 12000, "no")})
	}
	for _, r := range results {
		if m := r.misses(); len(m) > 0 {
			t.Fatal(m)
		}
	}
	got := strings.Join(classMisses(results), "; ")
	if got != "40ms: 90 of all 100 runs of the class predicted connect, not 95 %" {
		t.Error(got)
	}
	results[0].Runs, results[1].Runs = runsOf(100, 150, 0, 0, ""), nil
	if got := classMisses(results); len(got) > 0 {
		t.Error(got)
	}
}

func TestAtMost(t *testing.T) {
	for _, c := range []struct {
		n, runs int
		rate    float64
		want    float64
	}{{0, 1, 0.95, 0.05}, {9, 10, 0.95, 1 - math.Pow(0.95, 10)}, {10, 10, 0.9, 1}, {1, 2, 0.5, 0.75}} {
		if got := atMost(c.n, c.runs, c.rate); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("at most %d of %d at %v: %v, want %v", c.n, c.runs, c.rate, got, c.want)
		}
	}
}

// Between hosts on one LAN there is no round trip to count.
func TestFloor(t *testing.T) {
	for b, want := range map[string]float64{"same-nat": 40, "linux-drop": 140} {
		if got := (pairResult{A: b, B: b, RTT: 40}).floor(); got != want {
			t.Errorf("%s: %v ms, want %v", b, got, want)
		}
	}
}

func TestQuantile(t *testing.T) {
	ten := []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	for share, want := range map[float64]float64{0.5: 5, 0.95: 10, 0.9: 9, 1: 10, 0: 1} {
		if got := quantile(ten, share); got != want {
			t.Errorf("%v: %v, want %v", share, got, want)
		}
	}
	if quantile(nil, 0.5) != 0 {
		t.Error("of nothing")
	}
}

// checkMatrix parses a command line without carrying it out.
func checkMatrix(t *testing.T, args ...string) (*matrix, error) {
	t.Helper()
	m := new(matrix)
	cmd := m.command()
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	return m, m.check(cmd)
}

// A part of the matrix must not take the place of the whole.
func TestMatrixKeepsTheWhole(t *testing.T) {
	for _, args := range [][]string{
		{"--profiles", "linux-drop"}, {"--only", "openwrt"}, {"--runs", "9"}, {"--rtt", "41ms"}, {"--loss", "0.02"},
	} {
		if _, err := checkMatrix(t, args...); err == nil || !strings.Contains(err.Error(), "needs an --out of its own") {
			t.Errorf("%v: %v", args, err)
		}
		if _, err := checkMatrix(t, append(slices.Clip(args), "--out", "x")...); err != nil {
			t.Errorf("%v: %v", args, err)
		}
	}
	m, err := checkMatrix(t, "--rtt", "40ms,100ms", "--loss", "0,0.02")
	if err != nil {
		t.Fatal(err)
	}
	known := 0
	for _, p := range natlab.Profiles() {
		for _, q := range natlab.Profiles() {
			if e, _ := expectations.of(p.Name, q.Name); e.Class != classNone {
				known++
			}
		}
	}
	if len(m.cells) != 4*known {
		t.Errorf("%d cells, want %d pairs at 4 conditions", len(m.cells), known)
	}
	if first, last := m.cells[0].String(), m.cells[len(m.cells)-1]; first != "public × public, 40ms" || last.Loss != 0.02 || last.RTT != 100*time.Millisecond {
		t.Errorf("from %s to %v", first, last)
	}
}

func TestMatrixUsage(t *testing.T) {
	for want, args := range map[string][]string{
		`no profile "none"`:            {"--profiles", "none"},
		`no pair has a name like that`: {"--only", "^none", "--out", "x"},
		"--only: error parsing":        {"--only", "("},
		"--runs and --parallel":        {"--runs", "0"},
		"--rtt is a list of times":     {"--rtt", "0s"},
		"--loss is a list of prob":     {"--loss", "1"},
	} {
		if _, err := checkMatrix(t, args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v", args, err)
		}
	}
}

// sampleResults are results of every kind, for what writes them.
func sampleResults() []pairResult {
	return []pairResult{
		{A: "linux-drop", B: "linux-drop", RTT: 40, Runs: runsOf(10, 150, 0, 0, "")},
		{A: "linux-drop", B: "user-sym-random", RTT: 40, Runs: runsOf(1, 160, 9, 12000, "no & never <again>")},
		{A: "user-sym-random", B: "user-sym-random", RTT: 40, Runs: runsOf(0, 0, 10, 300, "both random")},
		{A: "linux-drop", B: "linux-drop", RTT: 100, Loss: 0.02, Runs: runsOf(10, 500, 0, 0, "")},
	}
}

// The heat map is well-formed, runs nothing, and says each pair's figure.
func TestHeatMap(t *testing.T) {
	svg := heatMap(conditions(sampleResults())[0])
	var said []string
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		token, err := d.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			if token.Name.Local == "script" {
				t.Error("there is a script")
			}
		case xml.CharData:
			said = append(said, string(token))
		}
	}
	for _, want := range []string{"100", "10", "0", "+10", "every run connects", "hopeless, and none connects", "falls short of what is expected", "not measured", "user-sym-random"} {
		if !slices.Contains(said, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	if n := bytes.Count(svg, []byte(`class="miss"`)); n != 2 { // a pair, and the legend
		t.Errorf("%d are marked", n)
	}
}

func TestMatrixFiles(t *testing.T) {
	dir := t.TempDir()
	r := matrixReport{Provenance: provenance{Commit: "c0ffee"}, Runs: 10, Pairs: sampleResults()}
	if err := r.write(dir); err != nil {
		t.Fatal(err)
	}
	text := map[string]string{}
	for _, name := range []string{"matrix.md", "matrix.csv", "matrix.json", "heatmap-40ms.svg", "heatmap-100ms-loss-2.svg"} {
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		text[name] = string(data)
	}
	for _, want := range []string{
		"commit c0ffee",
		"| direct | 1 | 10 | 10, 100.0 % | 72.2–100.0 % | 100 % | dialled observed 10 |",
		"| 1 linux-drop | 10/10 +10 | 1/10 +20 ! |", "| 2 user-sym-random |  | 0/10 |",
		"linux-drop × user-sym-random, 40ms: random: 1 of 10 connect within 5s", "[R] Richter et al. 2016", "](heatmap-100ms-loss-2.svg)",
	} {
		if !strings.Contains(text["matrix.md"], want) {
			t.Errorf("matrix.md lacks %q:\n%s", want, text["matrix.md"])
		}
	}
	lines, err := csv.NewReader(strings.NewReader(text["matrix.csv"])).ReadAll()
	if err != nil || len(lines) != 1+len(r.Pairs) {
		t.Fatal(lines, err)
	}
	if got := fmt.Sprint(lines[2]); got != "[linux-drop user-sym-random 40 0 random 11 10 1 160 160 160 140 20.000 12000 dialled observed 1 random: 1 of 10 connect within 5s]" {
		t.Error(got)
	}
	var back matrixReport
	if err := json.Unmarshal([]byte(text["matrix.json"]), &back); err != nil || len(back.Pairs) != 4 || back.Pairs[1].direct(0) != 1 {
		t.Error(err, back)
	}
	if err := r.verdict(); err == nil || strings.Count(err.Error(), "\n") != 1 { // the pair, and its class
		t.Error(err)
	}
}

// What is measured already need not be measured again, if it is of this commit.
func TestJournal(t *testing.T) {
	dir := t.TempDir()
	cells := []cell{{A: "linux-drop", B: "linux-drop", RTT: 40 * time.Millisecond}, {A: "linux-drop", B: "openwrt", RTT: 40 * time.Millisecond}}
	open := func(commit string, runs int, resume bool) *journal {
		t.Helper()
		j, err := openJournal(dir, commit, runs, resume)
		if err != nil {
			t.Fatal(err)
		}
		return j
	}
	j := open("one", 10, false)
	j.add(pairResult{A: "linux-drop", B: "linux-drop", RTT: 40, Runs: runsOf(10, 150, 0, 0, "")})
	j.file.WriteString(`{"commit":"one","ru`) // killed meanwhile
	j.close()
	j = open("one", 10, true)
	if _, done := j.done[keyOf(cells[0])]; !done || len(j.done) != 1 {
		t.Fatal(j.done)
	}
	j.add(pairResult{A: "linux-drop", B: "openwrt", RTT: 40, Runs: runsOf(9, 150, 1, 0, "")})
	j.close()
	j = open("one", 10, true)
	if got := j.resultsOf(cells); len(got) != 2 || got[1].B != "openwrt" || got[1].direct(0) != 9 {
		t.Error(got)
	}
	j.close()
	for _, other := range []*journal{open("one", 20, true), open("two", 10, true), open("one", 10, false)} {
		if len(other.done) > 0 {
			t.Errorf("%+v has %v", other, other.done)
		}
		other.close()
	}
}

// TestMatrixRuns measures a few pairs for real and has the command's own judge
// look at them.
func TestMatrixRuns(t *testing.T) {
	natlab.Require(t)
	m, err := checkMatrix(t, "--profiles", "linux-drop,user-rst", "--only", "linux-drop × ", "--runs", "2", "--out", "x")
	if err != nil {
		t.Fatal(err)
	}
	j, err := openJournal(t.TempDir(), "c", 2, false)
	if err != nil {
		t.Fatal(err)
	}
	defer j.close()
	var progress safeBuffer
	results, err := m.measure(t.Context(), j, &progress)
	if err != nil || len(results) != 2 {
		t.Fatal(results, err)
	}
	for _, r := range results {
		if misses := r.misses(); len(misses) > 0 {
			t.Errorf("%s × %s: %v", r.A, r.B, misses)
		}
		for _, run := range r.Runs {
			if run.Won.How == "" || run.Won.Attempt == 0 || run.WonThere.How == "" || run.FirstByte < r.floor()/2 {
				t.Errorf("%s × %s: %+v", r.A, r.B, run)
			}
		}
	}
	if got := progress.String(); !regexp.MustCompile(`2/2 linux-drop × user-rst, 40ms: 2/2 direct, first byte median`).MatchString(got) {
		t.Error(got)
	}
}
