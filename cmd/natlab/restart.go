package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/peerd/peerd/punch/natlab"
)

// restartClaims are about what a dead process has left in kernels and in other
// programs, which must not be in its successor's way.
func restartClaims() []claim {
	return []claim{
		{"restarts", "`peerd run` or `peerd connect` that is ended by SIGTERM or SIGKILL, with live and half-closed streams and connections, and started again at once on the same port, is registered within 1 s and connected to the same peer again within 12 s, and leaves no connection to the server",
			nil, showRestarts},
	}
}

const (
	// The limits count from the end of the predecessor, or of what the experiment
	// puts in the way. A peer that has lost the server, too, may pause for a second
	// before it registers. The RST of a process that was killed with bytes on the way
	// may be believed by the peer's NAT and not by its own; if both are netfilter's,
	// each refuses the other side's SYNs until the ten seconds are over for which they
	// remember the connection (ADR 011).
	registeredLimit = time.Second
	reconnectLimit  = 12 * time.Second
	// sampleRestartLimit and sampleReconnectLimit are for where tests beside this one
	// take the machine.
	sampleRestartLimit   = 10 * time.Second
	sampleReconnectLimit = 20 * time.Second
	// soon is what a restart takes on an idle machine, at most, but for those.
	soon = 2 * time.Second

	restartRounds = 100 // of each peer
)

// restartPairs are the NATs, of connect and of run.
var restartPairs = []cell{
	{A: "linux-drop", B: "user-drop", RTT: 40 * time.Millisecond},
	{A: "user-rst", B: "linux-open", RTT: 40 * time.Millisecond},
	{A: "linux-icmp", B: "linux-drop", RTT: 40 * time.Millisecond},
	{A: "user-drop", B: "user-icmp", RTT: 40 * time.Millisecond},
}

// samplePair are NATs that remember what has ended.
var samplePair = cell{A: "linux-drop", B: "linux-open", RTT: 40 * time.Millisecond}

// restarted is one restart.
type restarted struct {
	victim string
	moment restartMoment
	signal syscall.Signal
	ending time.Duration // from the signal to the end
	left   string        // of the connection to the peer
	// registered and connected count as the limits do.
	registered, connected time.Duration
	err                   error
}

// showRestarts restarts both peers in turn, in every moment and by either signal,
// in a world for each pair of NATs. That a peer is new whenever the other one is
// restarted keeps its backoff short.
func showRestarts(ctx context.Context, g ground) (f finding, err error) {
	pairs := []cell{samplePair}
	if g.whole {
		pairs = restartPairs
	}
	rounds := figure(g, len(restartMoments), restartRounds/len(restartPairs))
	results := make([][]restarted, len(pairs))
	err = atOnce(len(pairs), func(i int) (err error) {
		results[i], err = restartIn(ctx, g, pairs[i], i*rounds, rounds)
		return err
	})
	if err != nil {
		return f, err
	}
	return restartFinding(slices.Concat(results...), g)
}

// restartIn makes some of the rounds in a world of its own.
func restartIn(ctx context.Context, g ground, c cell, first, rounds int) (results []restarted, err error) {
	if g, err = g.in(fmt.Sprintf("%s-%s", c.A, c.B)); err != nil {
		return nil, err
	}
	w, err := newRestarts(ctx, g, c)
	if err != nil {
		return nil, err
	}
	defer w.close()
	for n := first; n < first+rounds && ctx.Err() == nil; n++ {
		moment := restartMoments[n%len(restartMoments)]
		// The next time round each moment has the other signal.
		signal := []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL}[(n%len(restartMoments)+n/len(restartMoments))%2]
		for _, victim := range []*restartNode{w.run, w.connect} {
			r := w.restart(ctx, victim, moment, signal)
			if r.err != nil {
				r.err = fmt.Errorf("%v: %w; said since: %s", r, r.err, victim.said)
			}
			if results = append(results, r); r.err != nil {
				return results, nil // the world is not what it should be any more
			}
		}
	}
	return results, ctx.Err()
}

func (r restarted) String() string {
	return fmt.Sprintf("%s, %s, %s", r.victim, r.moment.name, signalName(r.signal))
}

func signalName(s syscall.Signal) string {
	return map[syscall.Signal]string{syscall.SIGTERM: "SIGTERM", syscall.SIGKILL: "SIGKILL"}[s]
}

// restart ends a peer at a moment, starts it again and waits until all is well.
func (w *restarts) restart(ctx context.Context, victim *restartNode, m restartMoment, s syscall.Signal) (r restarted) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	r = restarted{victim: victim.name, moment: m, signal: s}
	rest, err := w.busy(ctx)
	defer rest()
	if r.err = errors.Join(err, w.reach(ctx, victim, m)); r.err != nil {
		return r
	}
	if r.ending, r.err = endWith(victim.cmd, s); r.err != nil {
		return r
	}
	if r.left, r.err = w.leavings(victim); r.err == nil {
		r.err = w.recover(ctx, victim, &r)
	}
	return r
}

// reach brings the connections to their moment, and makes sure of it.
func (w *restarts) reach(ctx context.Context, victim *restartNode, m restartMoment) error {
	if m.reach != nil {
		if err := m.reach(ctx, w, victim); err != nil {
			return err
		}
	}
	return errors.Join(victim.awaitSocket(ctx, w.other(victim).endpoint(), m.path, m.unsent),
		victim.awaitSocket(ctx, w.registry(), m.server, 0))
}

// endWith ends a process that may stand still.
func endWith(cmd *natlab.Cmd, s syscall.Signal) (took time.Duration, err error) {
	began := time.Now()
	if err := cmd.Process.Signal(s); err != nil {
		return 0, err
	}
	if err := continueProcess(cmd.Process); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return 0, err
	}
	cmd.Wait() // it says how it ended
	return time.Since(began), nil
}

// kill ends a process as kill -9 does, and waits for it.
func kill(cmd *natlab.Cmd) error {
	if err := cmd.Process.Kill(); err != nil {
		return err
	}
	cmd.Wait() // it says "killed"
	return nil
}

// leavings is what is left of the connection to the peer; there must be nothing
// of the one to the server.
func (w *restarts) leavings(n *restartNode) (string, error) {
	s, ok, err := n.socketTo(w.registry())
	if err == nil && ok {
		err = fmt.Errorf("%v is left of the connection to the server", s.state)
	}
	if err != nil {
		return "", err
	}
	s, ok, err = n.socketTo(w.other(n).endpoint())
	if !ok {
		return "nothing", err
	}
	return s.state.String(), err
}

// recover starts the successor, and waits until it is registered and the forwards
// work again.
func (w *restarts) recover(ctx context.Context, victim *restartNode, r *restarted) error {
	free := time.Now()
	undo := func() error {
		if r.moment.undo == nil {
			return nil
		}
		defer func() { free = time.Now() }()
		return r.moment.undo(ctx, w, victim)
	}
	if err := w.start(ctx, victim); err != nil {
		return err
	}
	if r.moment.early {
		if err := undo(); err != nil {
			return err
		}
	}
	if err := victim.awaitRegistered(ctx); err != nil {
		return err
	}
	r.registered = time.Since(free)
	if !r.moment.early {
		if err := undo(); err != nil {
			return err
		}
	}
	err := w.awaitEcho(ctx)
	r.connected = time.Since(free)
	return err
}
