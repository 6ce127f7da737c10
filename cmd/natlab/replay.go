package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch/natlab"
	"github.com/peerd/peerd/punch/recording"
)

// replayOptions is what the replay command is told on its command line.
type replayOptions struct {
	runs    int
	attempt int // from 1; 0 is the last introduction
}

func newReplayCommand() *cobra.Command {
	var o replayOptions
	cmd := &cobra.Command{
		Use:   "replay FILE",
		Short: "Repeat a recorded connection between NATs like those",
		Long: `Repeat what "peerd connect --record FILE" has recorded: rebuild the two NATs from
what the peers have reported of them, at the round trips to the server that were
measured, and connect through them several times. What a report does not know is
taken from the ordinary NAT, which maps endpoint-independently, preserves ports,
filters by address and port and drops what is unsolicited; the output says so, and
what the lab cannot rebuild.

The exit code is 0 if most of the runs end as the recording did, with a connection
or without one, and 1 if not.`,
		Example: "  peerd connect home --record case.jsonl; natlab replay case.jsonl --runs 20",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.runs < 1 || o.attempt < 0 {
				return &usageError{cmd, "--runs is at least 1, --attempt not negative"}
			}
			return o.run(cmd.Context(), args[0], cmd.OutOrStdout())
		},
	}
	cmd.Flags().IntVar(&o.runs, "runs", 10, "how often to repeat it")
	cmd.Flags().IntVar(&o.attempt, "attempt", 0, "`NUMBER` of the recorded introduction, from 1 (default the last one)")
	return cmd
}

func (o replayOptions) run(ctx context.Context, path string, out io.Writer) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	rec, err := recording.Read(f)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	attempt, number, err := o.choose(rec)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	c, err := newReplayCase(attempt)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	fmt.Fprintf(out, "introduction %d, recorded by the %s\n%s", number, legible(attempt.Introduction.Role), c.describe())
	r, err := c.measure(ctx, o.runs)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "replayed:  %s\n", r.summary())
	return c.compare(r, out)
}

// choose picks the introduction to replay. Its number counts introductions only.
func (o replayOptions) choose(rec *recording.Recording) (chosen recording.Attempt, number int, err error) {
	n := 0
	for _, a := range rec.Attempts {
		if a.Introduction == nil {
			continue
		}
		if n++; o.attempt == 0 || o.attempt == n {
			chosen, number = a, n
		}
	}
	switch {
	case n == 0:
		return chosen, 0, errors.New("it did not come to an introduction, so there is nothing to replay")
	case number == 0:
		return chosen, 0, fmt.Errorf("it has %d introductions, and no number %d", n, o.attempt)
	}
	return chosen, number, nil
}

// replayCase is a recorded introduction, as a lab.
type replayCase struct {
	cell      cell
	cfg       natlab.Config
	a, b      inferred // of the initiator and of the responder
	notes     []string
	responder bool // recorded it
	result    *recording.Result
}

// replayRTT is the round trip where none was measured.
const replayRTT = 40 * time.Millisecond

// maxReplayRTT is what the plan takes for a round trip to the server at most: a
// longer one is a mistake.
const maxReplayRTT = 5 * time.Second

// newReplayCase rebuilds the lab of an introduction.
func newReplayCase(at recording.Attempt) (*replayCase, error) {
	in := at.Introduction
	c := &replayCase{a: infer(in.Initiator), b: infer(in.Responder), responder: in.Role == proto.Responder.String(), result: at.Result}
	c.cfg = natlab.Config{A: c.a.profile("initiator"), B: c.b.profile("responder")}
	from, errA := netip.ParseAddrPort(in.Initiator.Observed)
	to, errB := netip.ParseAddrPort(in.Responder.Observed)
	if err := errors.Join(errA, errB); err != nil {
		return nil, err
	}
	if from.Addr() == to.Addr() {
		if c.a.none {
			c.notes = append(c.notes, "both have one address and no NAT: they get one each")
		} else {
			c.cfg.SameNAT = true
			c.notes = append(c.notes, "both have one outside address: they get one LAN behind the initiator's NAT")
		}
	}
	c.place(in.Initiator.RTT, in.Responder.RTT)
	c.cell = cell{A: "initiator", B: "responder", RTT: c.cfg.RTT, Ports: portModes{modeOf(in.Initiator), modeOf(in.Responder)},
		Reports: [2]bool{in.Initiator.NAT != nil, in.Responder.NAT != nil}}
	if in.PlanVersion != proto.PlanVersion {
		c.notes = append(c.notes, fmt.Sprintf("the plan had version %d, and now has %d", in.PlanVersion, proto.PlanVersion))
	}
	if in.Initiator.NoGuess || in.Responder.NoGuess {
		c.notes = append(c.notes, "a side had guessing ports switched off: here both guess")
	}
	return c, nil
}

// modeOf is how a party used its port; a mode that nobody knows counts as shared.
func modeOf(p recording.Party) string {
	if p.PortMode == dialOnly || p.PortMode == sequential {
		return p.PortMode
	}
	return shared
}

// place sets the round trips: the lab's server is in the middle, and the NAT of
// who is farther away adds the difference.
func (c *replayCase) place(a, b uint32) {
	ra, rb := min(time.Duration(a)*time.Microsecond, maxReplayRTT), min(time.Duration(b)*time.Microsecond, maxReplayRTT)
	switch {
	case a == 0 && b == 0:
		ra, rb = replayRTT/2, replayRTT/2
		c.notes = append(c.notes, fmt.Sprintf("no round trip was measured: %v between the peers", replayRTT))
	case a == 0:
		ra = rb
	case b == 0:
		rb = ra
	}
	if (a == 0) != (b == 0) {
		c.notes = append(c.notes, "one round trip to the server was not measured: it is taken to be the other's")
	}
	farther := c.cfg.A.NAT
	if rb > ra {
		farther = c.cfg.B.NAT
	}
	c.cfg.RTT = ra + rb
	if farther == nil || c.cfg.SameNAT {
		if ra != rb {
			c.notes = append(c.notes, "the server is in the middle: the farther peer has no NAT of its own to add a delay")
		}
		return
	}
	c.cfg.RTT = 2 * min(ra, rb)
	farther.Delay = (max(ra, rb) - min(ra, rb)) / 2 // one way
}

// describe says what is replayed, and what was recorded.
func (c *replayCase) describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "initiator: %v\nresponder: %v\nround trip: %v between the peers\n", c.a, c.b, c.roundTrip())
	for _, note := range c.notes {
		fmt.Fprintf(&b, "note:      %s\n", note)
	}
	switch r := c.result; {
	case r == nil:
		fmt.Fprintf(&b, "recorded:  no result\n")
	case r.Connected:
		fmt.Fprintf(&b, "recorded:  connected after %.0f ms, %s\n", r.TookMS, legible(wonInWords(r.Won)))
	default:
		fmt.Fprintf(&b, "recorded:  no connection after %.0f ms: %s\n", r.TookMS, legible(r.Failure))
	}
	return b.String()
}

// legible is text of a recording, which may be anybody's, without what a terminal
// would take for more than text.
func legible(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// roundTrip is that between the peers, by way of the server.
func (c *replayCase) roundTrip() time.Duration {
	d := c.cfg.RTT
	for _, p := range []natlab.Profile{c.cfg.A, c.cfg.B} {
		if p.NAT != nil {
			d += 2 * p.NAT.Delay
		}
	}
	return d
}

// recordedStep names what has won as victory.step does.
func recordedStep(w *recording.Won) string {
	if w == nil {
		return victory{}.step()
	}
	return victory{How: w.How, Kind: w.Kind, Idea: w.Idea, Attempt: w.Attempt}.step()
}

func wonInWords(w *recording.Won) string {
	if w == nil {
		return recordedStep(w)
	}
	return fmt.Sprintf("%s, attempt %d", recordedStep(w), w.Attempt)
}

// measure makes the runs.
func (c *replayCase) measure(ctx context.Context, runs int) (r pairResult, err error) {
	b, err := newBenchIn(c.cell, c.cfg)
	if err != nil {
		return r, err
	}
	defer b.close()
	r = pairResult{A: c.cell.A, B: c.cell.B, RTT: ms(c.roundTrip())}
	for n := range runs {
		if ctx.Err() != nil {
			return r, ctx.Err()
		}
		run := pairRunOf(b.run(n))
		if c.responder {
			run.Won = run.WonThere // what is compared is the recording's side
		}
		r.Runs = append(r.Runs, run)
	}
	return r, nil
}

// summary counts the runs.
func (r pairResult) summary() string {
	s := fmt.Sprintf("%d of %d connected", r.direct(0), len(r.Runs))
	if r.direct(0) > 0 {
		s += fmt.Sprintf(", first byte after %.0f ms (median): %s", r.firstByte(0.5), strings.Join(r.steps(), ", "))
	}
	for _, run := range r.Runs {
		if !run.Direct {
			return s + "; else " + run.Error
		}
	}
	return s
}

// errDisagrees is the verdict of a replay that ends otherwise.
var errDisagrees = errors.New("the replay does not agree with the recording")

// compare says whether the replay agrees with the recording.
func (c *replayCase) compare(r pairResult, out io.Writer) error {
	if c.result == nil {
		fmt.Fprintln(out, "agrees:    there is nothing to compare with")
		return nil
	}
	same := r.direct(0)
	if !c.result.Connected {
		same = len(r.Runs) - same
	}
	agrees := 2*same > len(r.Runs)
	fmt.Fprintf(out, "agrees:    %s, %d of %d end as the recording%s\n", map[bool]string{true: "yes", false: "no"}[agrees], same, len(r.Runs), c.sameStep(r))
	if !agrees {
		return errDisagrees
	}
	return nil
}

// sameStep counts the runs that the recorded step has won.
func (c *replayCase) sameStep(r pairResult) string {
	if !c.result.Connected {
		return ""
	}
	n := 0
	for _, run := range r.Runs {
		if run.Direct && run.Won.step() == recordedStep(c.result.Won) {
			n++
		}
	}
	return fmt.Sprintf(", %d by the same step", n)
}
