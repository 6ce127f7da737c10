package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// claim is something that must hold, and the experiment that shows whether it
// does. Each runs as a sample in the tests and in full
// for the proof.
type claim struct {
	name  string   // as --only and the tests know it
	text  string   // what holds, for the report
	needs []string // programs of the system
	show  func(ctx context.Context, g ground) (finding, error)
}

// finding is what an experiment saw. An error beside it says that the claim
// does not hold.
type finding struct {
	Text  string `json:"text,omitempty"` // the figures, as a sentence or some words
	Table *table `json:"table,omitempty"`
	// Failures are runs that failed, with all that is known of them. Only the JSON
	// has them.
	Failures []string `json:"failures,omitempty"`
}

// table is a finding with more figures than a line holds.
type table struct {
	Head []string   `json:"head"`
	Rows [][]string `json:"rows"`
}

// claimResult is one claim's line of the report.
type claimResult struct {
	Name    string  `json:"name"`
	Claim   string  `json:"claim"`
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"`
	finding
}

// missingError says that the system lacks a program.
type missingError struct{ program string }

// Error implements error.
func (e *missingError) Error() string {
	return fmt.Sprintf("there is no %s here: .ci/run says how to install it", e.program)
}

// claimLimit bounds one experiment; it is there for those that hang.
const claimLimit = 10 * time.Minute

// try runs the experiment in a directory of its own.
func (c claim) try(ctx context.Context, g ground) (f finding, err error) {
	for _, program := range c.needs {
		if _, err := findProgram(program); err != nil {
			return f, err
		}
	}
	// Spaces would need quotes in other programs' configurations.
	if g, err = g.in(strings.ReplaceAll(c.name, " ", "-")); err != nil {
		return f, err
	}
	ctx, cancel := context.WithTimeout(ctx, claimLimit)
	defer cancel()
	return c.show(ctx, g)
}

// findProgram looks for a program as root's PATH would: sshd is in none of a
// user's directories.
func findProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		path, err = exec.LookPath("/usr/sbin/" + name)
	}
	if err != nil {
		return "", &missingError{name}
	}
	return path, nil
}

// claimsPart is a proof that shows claims; setting is where the experiments are
// made.
func claimsPart(name, title, setting string, list func() []claim) proofPart {
	wanted := func(p *proof) []claim {
		return slices.DeleteFunc(list(), func(c claim) bool { return !p.wanted.MatchString(c.name) })
	}
	return proofPart{
		name: name,
		left: func(p *proof) bool { return len(wanted(p)) > 0 },
		run: func(p *proof, ctx context.Context, g ground, progress io.Writer) (proofReport, error) {
			r := claimsReport{name: name, title: title, setting: setting, Provenance: p.where}
			return r.run(ctx, g, wanted(p), progress)
		},
	}
}

// claimsReport is the result of a proof of claims, and the form of its JSON file.
type claimsReport struct {
	name, title, setting string

	Provenance provenance    `json:"provenance"`
	Took       string        `json:"took"`
	Results    []claimResult `json:"results"`
}

// run makes the experiments, one after the other: some take the time.
func (r claimsReport) run(ctx context.Context, g ground, claims []claim, progress io.Writer) (proofReport, error) {
	began := time.Now()
	for n, c := range claims {
		start := time.Now()
		f, err := c.try(ctx, g)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		result := claimResult{Name: c.name, Claim: c.text, Seconds: time.Since(start).Seconds(), Error: errText(err), finding: f}
		fmt.Fprintf(progress, "%d/%d %s: %.1f s: %s\n", n+1, len(claims), c.name, result.Seconds, result.words())
		r.Results = append(r.Results, result)
	}
	r.Took = sinceBegan(began)
	return r, nil
}

// words is the result in a line.
func (r claimResult) words() string {
	if r.Error != "" {
		return strings.TrimSpace("FAILED: " + oneLine(r.Error) + " " + r.Text)
	}
	return strings.TrimSpace("holds. " + r.Text)
}

// verdict is nil if every claim holds.
func (r claimsReport) verdict() error {
	var bad []string
	for _, t := range r.Results {
		if t.Error != "" {
			bad = append(bad, t.Name)
		}
	}
	if len(bad) > 0 {
		return errors.New("does not hold, see the report: " + strings.Join(bad, ", "))
	}
	return nil
}

func (r claimsReport) markdown() []byte {
	var b bytes.Buffer
	good := 0
	for _, t := range r.Results {
		if t.Error == "" {
			good++
		}
	}
	fmt.Fprintf(&b, "# %s\n\n%s\n", r.title, r.Provenance.heading(r.name, r.Took))
	fmt.Fprintf(&b, "**%d of %d claims hold.** %s\n\n", good, len(r.Results), r.setting)
	fmt.Fprintf(&b, "| claim | experiment | seconds | result |\n|---|---|---|---|\n")
	for _, t := range r.Results {
		fmt.Fprintf(&b, "| %s | %s | %.1f | %s |\n", markdownCell(t.Claim), t.Name, t.Seconds, markdownCell(t.words()))
	}
	for _, t := range r.Results {
		if t.Table != nil {
			fmt.Fprintf(&b, "\n## %s\n\n%s.\n\n%s", t.Name, t.Claim, t.Table)
		}
	}
	return b.Bytes()
}

// String is the table in Markdown.
func (t *table) String() string {
	var b strings.Builder
	row := func(cells []string) {
		for _, c := range cells {
			fmt.Fprintf(&b, "| %s ", markdownCell(c))
		}
		b.WriteString("|\n")
	}
	row(t.Head)
	b.WriteString(strings.Repeat("|---", len(t.Head)) + "|\n")
	for _, r := range t.Rows {
		row(r)
	}
	return b.String()
}

// markdownCell keeps a text in one cell of a table.
func markdownCell(s string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ").Replace(s)
}
