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

// claim is something that must hold of streams and tunnels, and the experiment
// that shows whether it does. Each runs as a sample in the tests and in full
// for the proof.
type claim struct {
	name  string   // as --only and the tests know it
	text  string   // what holds, for the report
	needs []string // programs of the system
	show  func(ctx context.Context, g ground) (finding, error)
}

// claims lists them all, in the order of the report.
func claims() []claim {
	return slices.Concat(
		sshClaims(), curlClaims(), browseClaims(), openingClaims(), crowdClaims(), mutualClaims(), pairClaims(), embeddedClaims(),
		abortClaims(),
		echoClaims(), faultClaims(),
	)
}

// finding is what an experiment saw. An error beside it says that the claim
// does not hold.
type finding struct {
	Text  string `json:"text,omitempty"` // the figures, as a sentence or some words
	Table *table `json:"table,omitempty"`
}

// table is a finding with more figures than a line holds.
type table struct {
	Head []string   `json:"head"`
	Rows [][]string `json:"rows"`
}

// tunnelResult is one claim's line of the report.
type tunnelResult struct {
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

// tunnels runs the experiments, one after the other: some take the time.
func (p *proof) tunnels(ctx context.Context, g ground, progress io.Writer) (proofReport, error) {
	began := time.Now()
	r := tunnelsReport{Provenance: p.where}
	for n, c := range p.claims {
		start := time.Now()
		f, err := c.try(ctx, g)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		result := tunnelResult{Name: c.name, Claim: c.text, Seconds: time.Since(start).Seconds(), Error: errText(err), finding: f}
		fmt.Fprintf(progress, "%d/%d %s: %.1f s: %s\n", n+1, len(p.claims), c.name, result.Seconds, result.words())
		r.Results = append(r.Results, result)
	}
	r.Took = sinceBegan(began)
	return r, nil
}

// tunnelsPart reports whether --only leaves anything of the tunnels.
func (p *proof) tunnelsPart() bool { return len(p.claims) > 0 }

// words is the result in a line.
func (r tunnelResult) words() string {
	if r.Error != "" {
		return strings.TrimSpace("FAILED: " + oneLine(r.Error) + " " + r.Text)
	}
	return strings.TrimSpace("holds. " + r.Text)
}

// tunnelsReport is the result of the tunnels' proof, and the form of its JSON
// file.
type tunnelsReport struct {
	Provenance provenance     `json:"provenance"`
	Took       string         `json:"took"`
	Results    []tunnelResult `json:"results"`
}

// verdict is nil if every claim holds.
func (r tunnelsReport) verdict() error {
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

func (r tunnelsReport) markdown() []byte {
	var b bytes.Buffer
	good := 0
	for _, t := range r.Results {
		if t.Error == "" {
			good++
		}
	}
	fmt.Fprintf(&b, "# Tunnels: what must hold of them, with the programs that people use\n\n%s\n", r.Provenance.heading("tunnels", r.Took))
	fmt.Fprintf(&b, "**%d of %d claims hold.** Every experiment is through two NATs of the lab, between processes of the real peerd.\n\n", good, len(r.Results))
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
