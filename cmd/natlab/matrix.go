package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerd/peerd/punch/natlab"
)

// matrix is what the matrix command is told on its command line.
type matrix struct {
	runs     int
	rtts     []time.Duration
	losses   []float64
	profiles []string
	only     string
	parallel int
	out      string
	resume   bool

	cells []cell
}

// The least that makes the whole matrix.
const (
	matrixRuns = 10
	matrixRTT  = 40 * time.Millisecond
	matrixOut  = "docs/matrix"
)

func newMatrixCommand() *cobra.Command { return new(matrix).command() }

func (m *matrix) command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "matrix",
		Short: "Connect through every pair of NATs and judge the results",
		Long: `Connect through every ordered pair of NATs, several times each, and write what
came of it: how many runs connected, what won, and the time over the floor, which
is that of the fewest round trips, (R_a + R_b) + 2.5 R. The results are compared
with a table of what is expected, which was written before (expectations.txt);
the exit code is 1 if they fall short of it anywhere. Standard output gets the
estimate of the success in the field; docs/matrix.md says how to read all of it.

Written are matrix.md, matrix.csv, matrix.json, a heat map for each condition, and
matrix.jsonl, to which each pair is added as soon as it is measured: --resume goes
on from there, on the same commit.`,
		Example: "  natlab matrix\n  natlab matrix --rtt 40ms,100ms --loss 0,0.02 --out /tmp/matrix\n  natlab matrix --profiles linux-drop,openwrt --runs 3 --out /tmp/matrix\n  natlab matrix --only '^linux-open × ' --out /tmp/matrix",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := m.check(cmd); err != nil {
				return err
			}
			return m.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f := cmd.Flags()
	f.IntVar(&m.runs, "runs", matrixRuns, "runs of each pair under each condition")
	f.DurationSliceVar(&m.rtts, "rtt", []time.Duration{matrixRTT}, "round trips between the peers")
	f.Float64SliceVar(&m.losses, "loss", []float64{0}, "probabilities from 0 to 1 that a packet is lost, one way")
	f.StringSliceVar(&m.profiles, "profiles", nil, "only these `NATS`, on either side (default all)")
	f.StringVar(&m.only, "only", "", "only pairs whose name, as in \"linux-drop × openwrt, 40ms\", matches this regular expression")
	f.IntVar(&m.parallel, "parallel", 4, "labs at a time")
	f.StringVar(&m.out, "out", matrixOut, "directory for the results")
	f.BoolVar(&m.resume, "resume", false, "keep what matrix.jsonl in the directory has of this commit, and measure the rest")
	return cmd
}

// check says what is wrong with the command line. A part of the matrix must not
// take the place of the whole.
func (m *matrix) check(cmd *cobra.Command) error {
	wanted, err := regexp.Compile(m.only)
	if err != nil {
		return &usageError{cmd, fmt.Sprintf("--only: %v", err)}
	}
	for _, name := range m.profiles {
		if _, err := natlab.ProfileByName(name); err != nil {
			return &usageError{cmd, oneLine(err.Error())}
		}
	}
	switch {
	case m.runs < 1 || m.parallel < 1:
		return &usageError{cmd, "--runs and --parallel are at least 1"}
	case slices.ContainsFunc(m.rtts, func(d time.Duration) bool { return d <= 0 }):
		return &usageError{cmd, "--rtt is a list of times above 0"}
	case slices.ContainsFunc(m.losses, func(p float64) bool { return !(p >= 0 && p < 1) }):
		return &usageError{cmd, "--loss is a list of probabilities from 0 to below 1"}
	}
	m.plan(wanted)
	switch {
	case len(m.cells) == 0:
		return &usageError{cmd, fmt.Sprintf("--only %q: no pair has a name like that", m.only)}
	case !m.isWhole() && !cmd.Flags().Changed("out"):
		return &usageError{cmd, "a part of the matrix needs an --out of its own"}
	}
	return nil
}

// isWhole reports whether this is at least the matrix that the documentation
// shows.
func (m *matrix) isWhole() bool {
	return m.only == "" && len(m.profiles) == 0 && m.runs >= matrixRuns && slices.Contains(m.rtts, matrixRTT) && slices.Contains(m.losses, 0)
}

// plan lists the cells: the pairs that there are, in the order of the expectations.
// Other names of the same profiles are left out unless they are asked for.
func (m *matrix) plan(wanted *regexp.Regexp) {
	var names []string
	m.cells = nil
	for _, name := range expectations.names {
		if len(m.profiles) == 0 && isProfile(name) || slices.Contains(m.profiles, name) {
			names = append(names, name)
		}
	}
	for _, loss := range m.losses {
		for _, rtt := range m.rtts {
			for _, a := range names {
				for _, b := range names {
					c := cell{A: a, B: b, RTT: rtt, Loss: loss, Reports: [2]bool{true, true}}
					if e, _ := expectations.of(a, b); e.Class != classNone && wanted.MatchString(c.String()) {
						m.cells = append(m.cells, c)
					}
				}
			}
		}
	}
}

func isProfile(name string) bool {
	return slices.ContainsFunc(natlab.Profiles(), func(p natlab.Profile) bool { return p.Name == name })
}

// run measures, writes and judges.
func (m *matrix) run(ctx context.Context, answer, progress io.Writer) error {
	where, err := readProvenance()
	if err != nil {
		return err
	}
	if m.resume && where.dirty() {
		return errors.New("--resume needs a checkout without uncommitted changes: nothing says that they are the same as then")
	}
	dir, err := os.MkdirTemp("", "natlab")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// What is measured is the checkout that is named, not this binary.
	if agentProgram, err = build(ctx, dir, "natlab"); err != nil {
		return err
	}
	j, err := openJournal(m.out, where.Commit, m.runs, m.resume)
	if err != nil {
		return err
	}
	defer j.close()
	began := time.Now()
	results, err := m.measure(ctx, j, progress)
	if err != nil {
		return err
	}
	rep := matrixReport{Provenance: where, Took: sinceBegan(began), Runs: m.runs, Pairs: results}
	if err := rep.write(m.out); err != nil {
		return err
	}
	fmt.Fprint(answer, estimate(results).text())
	return rep.verdict()
}

// measure runs the cells that the journal does not have yet.
func (m *matrix) measure(ctx context.Context, j *journal, progress io.Writer) ([]pairResult, error) {
	var left []cell
	for _, c := range m.cells {
		if _, done := j.done[keyOf(c)]; !done {
			left = append(left, c)
		}
	}
	if n := len(m.cells) - len(left); n > 0 {
		fmt.Fprintf(progress, "%d of %d are in the journal already\n", n, len(m.cells))
	}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	measure(ctx, left, m.parallel, progress, func(ctx context.Context, c cell, seed uint64) pairResult {
		r, err := measurePair(ctx, c, m.runs, seed)
		switch {
		case err != nil: // says nothing of the pair
			stop(fmt.Errorf("no lab for %s: %w; --resume goes on, with fewer labs at a time (--parallel)", c, err))
		case ctx.Err() == nil:
			j.add(r)
		}
		return r
	})
	if ctx.Err() != nil {
		return nil, errors.Join(context.Cause(ctx), j.failed())
	}
	return j.resultsOf(m.cells), j.failed()
}
