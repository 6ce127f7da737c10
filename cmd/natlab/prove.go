package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// proof is what the prove command is told on its command line.
type proof struct {
	parts    []string // names of proofs
	runs     int
	parallel int
	only     string
	out      string
	matrix   string // file of the lab's results

	wanted *regexp.Regexp // only, compiled
	cells  []cell         // that it matches
	where  provenance
}

// A proofPart is a proof that can be asked for by its name, which is also that
// of its files.
type proofPart struct {
	name string
	left func(*proof) bool // whether --only leaves anything of it
	run  func(*proof, context.Context, ground, io.Writer) (proofReport, error)
}

var proofParts = []proofPart{
	{"main-job", (*proof).mainJobPart, (*proof).mainJob},
	tunnelsPart,
	socketsPart,
	natsPart,
	reportsPart,
	simPart,
	capsPart,
}

// proofReport is the result of a proof; as JSON it is the proof's other file.
type proofReport interface {
	markdown() []byte
	verdict() error // nil if everything held
}

func proofNames() (names []string) {
	for _, part := range proofParts {
		names = append(names, part.name)
	}
	return names
}

func newProveCommand() *cobra.Command {
	var p proof
	cmd := &cobra.Command{
		Use:   "prove [PROOF]…",
		Short: "Run the full experiments and write their results",
		Long: `Run the full experiments, all of them or those of the proofs that are named, and
write their results to a directory as Markdown and JSON, with the commit that
they were measured on.

main-job  every pair of NATs that drop, answer RST or answer ICMP, kernel and
          userspace, at 2, 40 and 200 ms round trip, without and with one side
          frozen for 500 ms; and 200 MiB both ways with the real peerd
tunnels   what must hold of streams and tunnels, with the real peerd and the
          real programs of Debian: sshd, ssh, scp, rsync, curl, wrk, iperf3
sockets   what must hold where a system's sockets get in the way: ports that
          cannot be shared or are taken, connections that a dead process has
          left, and this kernel against its rules
nats      every profile of the lab, measured from outside, against what is
          written of it
reports   what peerd doctor finds out behind every NAT of the lab, with a server
          that has one address or two
sim       a million cases of all pairs of NATs in virtual time, against what is
          expected of them and what the matrix has measured
caps      what leaves a node, counted by a capture, with honest and with hostile
          servers and peers`,
		Example:   "  natlab prove\n  natlab prove tunnels\n  natlab prove main-job --only 'linux-open × .*200ms' --runs 5 --out /tmp/proof",
		ValidArgs: proofNames(),
		Args:      cobra.OnlyValidArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if p.parts = args; len(args) == 0 {
				p.parts = proofNames()
			}
			if err := p.check(cmd); err != nil {
				return err
			}
			return p.run(cmd.Context(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().IntVar(&p.runs, "runs", wholeRuns, "runs of each cell of the main job; fewer have sim run fewer cases, too")
	cmd.Flags().IntVar(&p.parallel, "parallel", 8, "labs of the main job at a time")
	cmd.Flags().StringVar(&p.only, "only", "", "only cells and claims whose name matches this regular expression")
	cmd.Flags().StringVar(&p.matrix, "matrix", filepath.Join(matrixOut, "matrix.json"), "results of the matrix that sim is compared with")
	cmd.Flags().StringVar(&p.out, "out", "docs/proof", "directory for the results")
	return cmd
}

// wholeRuns is how many runs of each cell make the proof.
const wholeRuns = 20

// check says what is wrong with the command line. A part of the proof must not
// take the place of the whole.
func (p *proof) check(cmd *cobra.Command) (err error) {
	if p.wanted, err = regexp.Compile(p.only); err != nil {
		return &usageError{cmd, fmt.Sprintf("--only: %v", err)}
	}
	p.cells = slices.DeleteFunc(pairCells(), func(c cell) bool { return !p.wanted.MatchString(c.String()) })
	switch {
	case p.runs < 1 || p.parallel < 1:
		return &usageError{cmd, "--runs and --parallel are at least 1"}
	case len(p.wantedParts()) == 0:
		return &usageError{cmd, fmt.Sprintf("--only %q: no cell or claim of %s has a name like that", p.only, strings.Join(p.parts, ", "))}
	case (p.only != "" || p.runs < wholeRuns) && !cmd.Flags().Changed("out"):
		return &usageError{cmd, "a part of the proof needs an --out of its own"}
	}
	return nil
}

// wantedParts are the proofs that were asked for and of which --only leaves
// something.
func (p *proof) wantedParts() []proofPart {
	return slices.DeleteFunc(slices.Clone(proofParts), func(part proofPart) bool {
		return !slices.Contains(p.parts, part.name) || !part.left(p)
	})
}

// run measures and writes each proof. It fails if anything of any did.
func (p *proof) run(ctx context.Context, progress io.Writer) (err error) {
	if p.where, err = readProvenance(); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "natlab")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	// What is proven is the checkout that is named, not this binary.
	g := ground{dir: dir, whole: true}
	if g.peerd, err = build(ctx, dir, "peerd"); err != nil {
		return err
	}
	if agentProgram, err = build(ctx, dir, "natlab"); err != nil {
		return err
	}
	var verdicts []error
	for _, part := range p.wantedParts() {
		rep, err := part.run(p, ctx, g, progress)
		if err != nil {
			return err
		}
		if err := writeProof(p.out, part.name, rep); err != nil {
			return err
		}
		verdicts = append(verdicts, rep.verdict())
	}
	return errors.Join(verdicts...)
}

// ground is what an experiment with real programs stands on.
type ground struct {
	peerd string // the program
	dir   string // for whatever the experiment likes
	whole bool   // the full figures are wanted, not a sample
}

// in is the same ground with a directory of that name.
func (g ground) in(name string) (ground, error) {
	g.dir = filepath.Join(g.dir, name)
	return g, os.MkdirAll(g.dir, 0o755)
}

// figure is a quantity of an experiment, in a sample and in the proof.
func figure[N int | int64 | float64 | time.Duration](g ground, sample, whole N) N {
	if g.whole {
		return whole
	}
	return sample
}
