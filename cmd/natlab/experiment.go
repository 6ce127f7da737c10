package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch/natlab"
)

// cell is one experiment: two NATs, the path between them, and how long one side
// is frozen once it has its transcript.
type cell struct {
	A, B   string
	RTT    time.Duration
	Freeze time.Duration
	Loss   float64
	Rate   int64     // bits per second, each way; 0 is unlimited
	Ports  portModes // of the nodes
	// Reports says which nodes, A's and B's, have measured their NATs before they
	// connect.
	Reports [2]bool
}

func (c cell) String() string {
	s := fmt.Sprintf("%s × %s, %v", c.A, c.B, c.RTT)
	if c.Freeze > 0 {
		s += fmt.Sprintf(", frozen %v", c.Freeze)
	}
	if c.Loss > 0 {
		s += fmt.Sprintf(", loss %.0f %%", 100*c.Loss)
	}
	if c.Rate > 0 {
		s += fmt.Sprintf(", %v", bitRate(c.Rate))
	}
	if c.Ports != (portModes{}) {
		s += ", " + c.Ports.String()
	}
	return s
}

// lab builds the cell's lab.
func (c cell) lab(seed uint64) (*natlab.Lab, error) {
	cfg, err := c.config(seed)
	if err != nil {
		return nil, err
	}
	return natlab.New(cfg)
}

// config describes the cell's lab.
func (c cell) config(seed uint64) (cfg natlab.Config, err error) {
	cfg = natlab.Config{RTT: c.RTT, Loss: c.Loss, Rate: c.Rate, Seed: seed}
	if cfg.A, err = natlab.ProfileByName(c.A); err != nil {
		return cfg, err
	}
	cfg.B, err = natlab.ProfileByName(c.B)
	return cfg, err
}

// outcome is what one run of a cell measured.
type outcome struct {
	Err error
	// FirstByte is the time from the request to the first application byte at
	// the peer's target; 0 if the run was not timed.
	FirstByte time.Duration
	// Connected is the time from the request to the confirmed session and
	// target.
	Connected time.Duration
	// Won is how the connection came about, at the initiator's side and at the
	// responder's.
	Won [2]victory
}

// bench is a lab with a server and an agent on each host.
type bench struct {
	cell cell
	lab  *natlab.Lab
	url  proto.ServerURL
	a, b *conductor
}

// newBench builds the lab of a cell. Close it in the end.
func newBench(c cell, seed uint64) (*bench, error) {
	cfg, err := c.config(seed)
	if err != nil {
		return nil, err
	}
	return newBenchIn(c, cfg)
}

// newBenchIn is newBench for a cell whose lab has NATs of its own.
func newBenchIn(c cell, cfg natlab.Config) (b *bench, err error) {
	b = &bench{cell: c}
	if b.lab, err = natlab.New(cfg); err != nil {
		return nil, err
	}
	if err = b.populate(); err != nil {
		b.close()
		return nil, err
	}
	return b, nil
}

// populate starts the server and the agents.
func (b *bench) populate() (err error) {
	if b.url, err = startHub(b.lab); err != nil {
		return err
	}
	filters := b.cell.Ports.filters()
	if b.a, err = conduct(b.lab.A, filters[0]); err != nil {
		return err
	}
	b.b, err = conduct(b.lab.B, filters[1])
	return err
}

func (b *bench) close() error { return b.lab.Close() }

// run makes one connection between two fresh nodes. If the cell freezes, the
// initiator is frozen in even runs and the responder in odd ones.
func (b *bench) run(n int) (o outcome) {
	frozen := b.frozen(n)
	err := errors.Join(
		b.a.start(order{Op: "start", Server: b.url.String(), Study: b.cell.Reports[0], Freeze: frozen == b.a}),
		b.b.start(order{Op: "start", Server: b.url.String(), Study: b.cell.Reports[1], Answer: true, Allow: []proto.ID{b.a.id}, Freeze: frozen == b.b}),
	)
	if err == nil {
		err = b.cell.Ports.check(b.a.mode, b.b.mode)
	}
	if err == nil {
		o, err = b.connect(frozen)
	}
	if err != nil {
		err = errors.Join(err, b.b.testify())
	}
	o.Err = errors.Join(err, b.a.stop(), b.b.stop())
	return o
}

func (b *bench) frozen(n int) *conductor {
	switch {
	case b.cell.Freeze == 0:
		return nil
	case n%2 == 0:
		return b.a
	default:
		return b.b
	}
}

// connect has A connect to B and waits for what both report.
func (b *bench) connect(frozen *conductor) (o outcome, err error) {
	if err := b.a.say(order{Op: "connect", Peer: b.b.id}); err != nil {
		return o, err
	}
	if frozen != nil {
		if _, err := frozen.await("frozen"); err != nil {
			return o, err
		}
		time.Sleep(b.cell.Freeze) // this is the experiment, not a wait for something
		if err := continueProcess(frozen.cmd.Process); err != nil {
			return o, err
		}
	}
	connected, err := b.a.await("connected")
	if err != nil {
		return o, err
	}
	first, err := b.b.await("byte")
	if err != nil {
		return o, err
	}
	if connected.Path != "direct" {
		return o, fmt.Errorf("path %q instead of direct", connected.Path)
	}
	return outcome{
		FirstByte: time.Duration(first.At - connected.At), Connected: connected.Took,
		Won: [2]victory{connected.Won, first.Won},
	}, nil
}

// conductor speaks to one agent.
type conductor struct {
	host    *natlab.Host
	cmd     *natlab.Cmd
	in      io.Writer
	id      proto.ID
	mode    string // how the node uses its port, once it is started
	reports chan report
}

// conduct starts an agent on a host.
func conduct(h *natlab.Host, f natlab.Filter) (*conductor, error) {
	c := &conductor{host: h, cmd: h.Command(context.Background(), executable(), agentArg), reports: make(chan report, 16)}
	c.cmd.Filter = f
	c.cmd.Env = append(os.Environ(), agentEnv+"=1")
	c.cmd.Stderr = os.Stderr
	in, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	c.in = in
	go c.listen(out) // until the agent ends
	hello, err := c.await("hello")
	c.id = hello.ID
	return c, err
}

func (c *conductor) listen(out io.Reader) {
	defer close(c.reports)
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r report
		if json.Unmarshal(lines.Bytes(), &r) == nil {
			c.reports <- r
		}
	}
}

func (c *conductor) say(o order) error { return json.NewEncoder(c.in).Encode(o) }

// agentLimit bounds the wait for an agent's report: more than an agent itself
// waits for anything.
const agentLimit = connectLimit + 20*time.Second

// await returns the next report of a kind; others are passed over, but a
// failure is an error.
func (c *conductor) await(event string) (report, error) {
	limit := time.After(agentLimit)
	for {
		select {
		case r, ok := <-c.reports:
			switch {
			case !ok:
				return r, fmt.Errorf("the agent on %s has died", c.host.Name())
			case r.Event == event:
				return r, nil
			case r.Event == "failed":
				return r, &agentError{c.host.Name(), r}
			}
		case <-limit:
			return report{}, fmt.Errorf("the agent on %s did not report %q within %v", c.host.Name(), event, agentLimit)
		}
	}
}

func (c *conductor) start(o order) error {
	if err := c.say(o); err != nil {
		return err
	}
	r, err := c.await("registered")
	c.mode = r.Mode
	return err
}

// testify returns what an agent has seen of a run that failed elsewhere.
func (c *conductor) testify() error {
	if err := c.say(order{Op: "events"}); err != nil {
		return err
	}
	r, err := c.await("events")
	return errors.Join(err, &agentError{c.host.Name(), r})
}

func (c *conductor) stop() error {
	if err := c.say(order{Op: "close"}); err != nil {
		return err
	}
	_, err := c.await("closed")
	return err
}

// agentEnv marks the environment of an agent or an application, so that a test
// binary knows that it is to be the program.
const agentEnv = "PEERD_NATLAB_AGENT"
