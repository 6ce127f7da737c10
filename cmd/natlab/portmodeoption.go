package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"syscall"
)

// forceBothWays runs a cell in a lab of its own: in even runs the agents are under
// filters, in odd ones the real peerd is told its mode.
func forceBothWays(ctx context.Context, g ground, c cell, runs int, seed uint64) cellResult {
	b, err := newBench(c, seed)
	if err != nil {
		return c.unmeasured(runs, err)
	}
	defer b.close()
	o, err := newOptionRuns(ctx, g, b, fmt.Sprint(seed))
	if err != nil {
		return c.unmeasured(runs, err)
	}
	return b.measure(ctx, runs, func(n int) outcome {
		if n%2 == 0 {
			return b.run(n)
		}
		return outcome{Err: o.run(ctx)}
	})
}

// optionRuns are runs of the real peerd with --port-mode in a bench's lab, whose
// agents have no node meanwhile.
type optionRuns struct {
	*world
	ports     portModes
	initiator string // ID of A
}

func newOptionRuns(ctx context.Context, g ground, b *bench, name string) (o *optionRuns, err error) {
	if g, err = g.in(name); err != nil {
		return nil, err
	}
	o = &optionRuns{world: &world{lab: b.lab, peerd: g.peerd, dir: g.dir, url: b.url.String()}, ports: b.cell.Ports}
	o.initiator, err = o.id(ctx, b.lab.A, "a")
	return o, err
}

// run has A reach B once, both started anew.
func (o *optionRuns) run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, agentLimit)
	defer cancel()
	daemon := o.command(ctx, o.lab.B, "b", "run", "--allow", o.initiator, "--port-mode", o.ports.B, "--log-level", "debug")
	id, said, err := ready(daemon)
	if err != nil {
		return withOption(err, said)
	}
	pinged, err := o.ping(ctx, id)
	daemon.Process.Signal(syscall.SIGTERM)
	if ended := daemon.Wait(); ended != nil {
		err = errors.Join(err, fmt.Errorf("peerd run: %w", ended))
	}
	if err == nil {
		err = o.ports.check(modeSaid(pinged), modeSaid(said))
	}
	return withOption(err, pinged, said)
}

// ping has A measure the round trip once, and wants the path to be direct.
func (o *optionRuns) ping(ctx context.Context, id string) (*sayings, error) {
	said := newSayings()
	cmd := o.command(ctx, o.lab.A, "a", "ping", "--json", "--count", "1", "--timeout", connectLimit.String(), "--port-mode", o.ports.A, "--log-level", "debug", id)
	cmd.Stderr = said
	out, err := cmd.Output()
	if err != nil {
		return said, fmt.Errorf("peerd ping: %w", err)
	}
	var answer struct{ Path string }
	if err := json.Unmarshal(out, &answer); err != nil {
		return said, fmt.Errorf("peerd ping says %q: %w", out, err)
	}
	if answer.Path != "direct" {
		return said, fmt.Errorf("path %q instead of direct", answer.Path)
	}
	return said, nil
}

// portLog is where peerd's log says how the port is used.
var portLog = regexp.MustCompile(` port=\d+ mode=([a-z-]+)`)

// modeSaid is the mode of a peerd that has ended, "" if it has not said it.
func modeSaid(said *sayings) string {
	if m := portLog.FindStringSubmatch(said.String()); m != nil {
		return m[1]
	}
	return ""
}

// withOption tells such a failure from one under filters; what was said is below
// the line, as the attempts of agents are.
func withOption(err error, said ...*sayings) error {
	if err == nil {
		return nil
	}
	text := "with --port-mode: " + oneLine(err.Error())
	for _, s := range said {
		if s != nil {
			text += "\n  " + strings.ReplaceAll(strings.TrimSpace(s.String()), "\n", "\n  ")
		}
	}
	return errors.New(text)
}
