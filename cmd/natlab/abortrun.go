package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/peerd/peerd/punch/natlab"
)

const (
	// abortMark is how much an application reads before something happens in the
	// middle of data; it is more than the sockets' buffers.
	abortMark = 8 << 20
	// abortSize is how much is sent where all is.
	abortSize = 1 << 20

	// reachLimit bounds the wait for what comes before an event, and abortLimit for
	// what follows it: both are there for what hangs, and not for a busy machine.
	// A dead path is given up after 30 s of silence.
	reachLimit = 3 * time.Minute
	abortLimit = time.Minute
	cutLimit   = 30*time.Second + abortLimit
)

// abortExperiment is a cell of one of the tables.
type abortExperiment interface {
	String() string
	// open connects two applications over the i-th link of a world.
	open(ctx context.Context, w *tunnelWorld, i int) (trial, error)
}

// trial is an experiment that is under way.
type trial interface {
	reach(context.Context) error // its moment
	strike() error               // makes its event happen, unless that is the whole world's
	judge(context.Context) error
	close()
}

// abortResult is what came of an experiment.
type abortResult struct {
	cell abortExperiment
	took time.Duration // from the event to the last application's end
	err  error
}

// abortParallel is how many cells of one world are under way at once.
const abortParallel = 4

// runEach runs experiments whose events are their own.
func runEach(ctx context.Context, w *tunnelWorld, cells []abortExperiment) []abortResult {
	results := make([]abortResult, len(cells))
	var g errgroup.Group
	g.SetLimit(abortParallel)
	for i, c := range cells {
		g.Go(func() error {
			results[i] = runOne(ctx, w, c, i)
			return nil
		})
	}
	g.Wait()
	return results
}

func runOne(ctx context.Context, w *tunnelWorld, c abortExperiment, i int) (r abortResult) {
	r.cell = c
	ctx, cancel := context.WithTimeout(ctx, reachLimit+abortLimit)
	defer cancel()
	t, err := c.open(ctx, w, i)
	if err != nil {
		r.err = err
		return r
	}
	defer t.close()
	if r.err = t.reach(ctx); r.err != nil {
		return r
	}
	began := time.Now()
	if r.err = t.strike(); r.err == nil {
		r.err = t.judge(ctx)
	}
	r.took = time.Since(began)
	return r
}

// runTogether brings all experiments to their moments, has their common event
// happen, and looks at all.
func runTogether(ctx context.Context, w *tunnelWorld, cells []abortExperiment, limit time.Duration, strike func() error) []abortResult {
	results := make([]abortResult, len(cells))
	trials := make([]trial, len(cells))
	defer func() {
		for _, t := range trials {
			if t != nil {
				t.close()
			}
		}
	}()
	before, cancel := context.WithTimeout(ctx, reachLimit)
	defer cancel()
	var g errgroup.Group
	g.SetLimit(abortParallel)
	for i, c := range cells {
		results[i].cell = c
		g.Go(func() error {
			t, err := c.open(before, w, i)
			if err == nil {
				trials[i], err = t, t.reach(before)
			}
			results[i].err = err
			return err
		})
	}
	if g.Wait() != nil {
		return results
	}
	began := time.Now()
	err := strike()
	after, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var watching sync.WaitGroup
	for i, t := range trials {
		watching.Go(func() {
			results[i].err = errors.Join(err, t.judge(after))
			results[i].took = time.Since(began)
		})
	}
	watching.Wait()
	return results
}

// tunnelWorld is a world whose B has a target for each of some connections.
type tunnelWorld struct {
	*world
	connects *connect // on A, if it was asked for
	links    []link
}

// targetName is the name of the i-th target.
func targetName(i int) string { return fmt.Sprintf("app%d", i) }

// newTunnelWorld makes a world with n targets.
func newTunnelWorld(ctx context.Context, g ground, c cell, n int) (t *tunnelWorld, err error) {
	t = &tunnelWorld{}
	var expose []string
	for i := range n {
		l := link{dialAddr: fmt.Sprintf("127.0.0.1:%d", 20000+i), listenAt: fmt.Sprintf("127.0.0.1:%d", 30000+i)}
		t.links = append(t.links, l)
		expose = append(expose, targetName(i)+"="+l.listenAt)
	}
	if t.world, err = newWorld(ctx, g.peerd, g.dir, c, expose...); err != nil {
		return nil, err
	}
	t.place(t.lab.A, t.lab.B)
	return t, nil
}

// place says on which host applications dial and on which they listen.
func (t *tunnelWorld) place(diallers, listeners *natlab.Host) {
	for i := range t.links {
		t.links[i].dialler, t.links[i].listener = diallers, listeners
	}
}

// connect starts peerd connect on A with a forward to every target.
func (t *tunnelWorld) connect(ctx context.Context) (err error) {
	var forwards []string
	for i, l := range t.links {
		forwards = append(forwards, "-L", l.dialAddr+":"+targetName(i))
	}
	t.connects, err = t.startConnect(ctx, t.lab.A, "a", t.peer, forwards...)
	return err
}

// connectRemote starts peerd connect on A with a remote forward for every link.
func (t *tunnelWorld) connectRemote(ctx context.Context) error {
	id, err := t.id(ctx, t.lab.A, "a")
	if err != nil {
		return err
	}
	// run reads the file again when it has changed.
	if err := t.configure("b", "authorized_peers", fmt.Sprintf("permit-listen=\"*\" %s\n", id)); err != nil {
		return err
	}
	t.place(t.lab.B, t.lab.A)
	var forwards []string
	for _, l := range t.links {
		forwards = append(forwards, "-R", l.dialAddr+":"+l.listenAt)
	}
	t.connects, err = t.startConnect(ctx, t.lab.A, "a", t.peer, forwards...)
	return err
}

// plainTCP has n pairs of applications meet on one host's loopback, at ports that
// no dialler gets by chance (net.ipv4.ip_local_port_range).
func plainTCP(h *natlab.Host, n int) *tunnelWorld {
	t := &tunnelWorld{}
	for i := range n {
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+i)
		t.links = append(t.links, link{h, h, addr, addr})
	}
	return t
}

// abortCells are the cells of events in both directions.
func abortCells(events ...abortEvent) (cells []abortExperiment) {
	for _, e := range events {
		for _, m := range abortMoments {
			cells = append(cells, abortCell{event: e, moment: m}, abortCell{event: e, moment: m, reverse: true})
		}
	}
	return cells
}

// peerdCells are the cells in which something happens to the peerd of one host:
// that is the sender's in one direction and the receiver's in the other.
func peerdCells(ofB bool, senders, receivers abortEvent) (cells []abortExperiment) {
	for _, m := range abortMoments {
		cells = append(cells, abortCell{event: senders, moment: m, reverse: ofB}, abortCell{event: receivers, moment: m, reverse: !ofB})
	}
	return cells
}

// remote are the same cells by way of -R.
func remote(cells []abortExperiment) (remote []abortExperiment) {
	for _, c := range cells {
		c := c.(abortCell)
		c.remote = true
		remote = append(remote, c)
	}
	return remote
}

// abortWorld is the NATs and the path that the tables are tried with.
var abortWorld = cell{A: "linux-drop", B: "user-drop", RTT: 10 * time.Millisecond}

// abortGroup is a part of the tables that shares a world.
type abortGroup struct {
	name   string
	cells  []abortExperiment
	limit  time.Duration
	strike func(*tunnelWorld) error // nil: the events are the experiments' own
}

// abortGroups are the whole tables.
func abortGroups() []abortGroup {
	cut := func(w *tunnelWorld) error { return w.lab.Cut(w.lab.B, true) }
	ofConnect := func(s os.Signal) func(*tunnelWorld) error {
		return func(w *tunnelWorld) error { return end(w.connects.cmd, s, exitTerminated) }
	}
	ofRun := func(s os.Signal) func(*tunnelWorld) error {
		return func(w *tunnelWorld) error { return end(w.runs, s, 0) }
	}
	return []abortGroup{
		{"path cut", abortCells(pathCut), cutLimit, cut},
		{"nc path cut", ncCells(ncPathCut), cutLimit, cut},
		{"applications", abortCells(senderEnds, senderResets, senderKilled, receiverKilled), abortLimit, nil},
		{"applications, -R", remote(abortCells(senderEnds, senderResets, senderKilled, receiverKilled)), abortLimit, nil},
		{"connect killed, -R", remote(peerdCells(false, senderPeerdKilled, receiverPeerdKilled)), abortLimit, ofConnect(os.Kill)},
		{"run killed, -R", remote(peerdCells(true, senderPeerdKilled, receiverPeerdKilled)), abortLimit, ofRun(os.Kill)},
		{"connect killed", peerdCells(false, senderPeerdKilled, receiverPeerdKilled), abortLimit, ofConnect(os.Kill)},
		{"run killed", peerdCells(true, senderPeerdKilled, receiverPeerdKilled), abortLimit, ofRun(os.Kill)},
		{"connect stopped", peerdCells(false, senderPeerdStopped, receiverPeerdStopped), abortLimit, ofConnect(syscall.SIGTERM)},
		{"run stopped", peerdCells(true, senderPeerdStopped, receiverPeerdStopped), abortLimit, ofRun(syscall.SIGTERM)},
		{"nc", ncCells(stdinEnds, stdoutGone, targetCloses, targetResets, targetKilled, ncKilled, ncStopped), abortLimit, nil},
		{"nc run killed", ncCells(runKilled), abortLimit, ofRun(os.Kill)},
		{"nc run stopped", ncCells(runStopped), abortLimit, ofRun(syscall.SIGTERM)},
	}
}

// end ends peerd with a signal, after SIGTERM with an exit code.
func end(cmd *natlab.Cmd, s os.Signal, code int) error {
	if err := cmd.Process.Signal(s); err != nil {
		return err
	}
	cmd.Wait()
	if got := cmd.ProcessState.ExitCode(); s == syscall.SIGTERM && got != code {
		return fmt.Errorf("peerd %s exits with %d after SIGTERM instead of %d", cmd.Args[1], got, code)
	}
	return nil
}

// connect starts peerd connect, if the cells use it.
func (g abortGroup) connect(ctx context.Context, w *tunnelWorld) error {
	c, ok := g.cells[0].(abortCell)
	switch {
	case !ok: // nc's
		return nil
	case c.remote:
		return w.connectRemote(ctx)
	}
	return w.connect(ctx)
}

// try runs a group in a world of its own.
func (g abortGroup) try(ctx context.Context, on ground) ([]abortResult, error) {
	on, err := on.in(strings.ReplaceAll(g.name, " ", "-"))
	if err != nil {
		return nil, err
	}
	w, err := newTunnelWorld(ctx, on, abortWorld, len(g.cells))
	if err != nil {
		return nil, err
	}
	defer w.lab.Close()
	if err := g.connect(ctx, w); err != nil {
		return nil, err
	}
	if g.strike == nil {
		return runEach(ctx, w, g.cells), nil
	}
	return runTogether(ctx, w, g.cells, g.limit, func() error { return g.strike(w) }), nil
}

// abortClaims are about what becomes of connections that something ends.
func abortClaims() []claim {
	return []claim{
		{"abort matrix", "whatever ends a connection, an application or the peerd or path that carries it, before, during or after data, has at either end the result that docs/aborts.md states",
			nil, showAborts},
	}
}

// showAborts runs the whole tables.
func showAborts(ctx context.Context, on ground) (finding, error) {
	groups := abortGroups()
	results, failed := make([][]abortResult, len(groups)), make([]error, len(groups))
	var running sync.WaitGroup
	for i, g := range groups {
		running.Go(func() { results[i], failed[i] = g.try(ctx, on) })
	}
	running.Wait()
	return abortFinding(groups, results), errors.Join(append(failed, abortErrors(results)...)...)
}

func abortErrors(results [][]abortResult) (failed []error) {
	for _, r := range slices.Concat(results...) {
		if r.err != nil {
			failed = append(failed, fmt.Errorf("%v: %w", r.cell, r.err))
		}
	}
	return failed
}

// abortFinding counts, and says how long the applications were left in the dark.
func abortFinding(groups []abortGroup, results [][]abortResult) (f finding) {
	f.Table = &table{Head: []string{"world", "experiments", "as documented", "slowest, s"}}
	good, all := 0, 0
	for i, g := range groups {
		right, slowest := 0, time.Duration(0)
		for _, r := range results[i] {
			slowest = max(slowest, r.took)
			if r.err == nil {
				right++
			}
		}
		good, all = good+right, all+len(g.cells)
		f.Table.Rows = append(f.Table.Rows, []string{g.name, fmt.Sprint(len(g.cells)), fmt.Sprint(right), fmt.Sprintf("%.2f", slowest.Seconds())})
	}
	f.Text = fmt.Sprintf("%d of %d experiments as documented", good, all)
	return f
}
