package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/peerd/peerd/punch/natlab"
)

// faultClaims are about what goes wrong and does not end connections, and about
// bytes that nobody sent.
func faultClaims() []claim {
	return []claim{
		{"stopped for 5 s", "either peerd can stand still for 5 s in the middle of a transfer (SIGSTOP): nothing is lost",
			nil, showStopped},
		{"spoiled path", "bytes that change on the path although TCP's checksum is right reach nobody: both applications get a reset, and the next connection works",
			nil, showSpoiled},
		{"slow reader", "a stream whose reader takes 100 KB/s leaves another one of its session at least 80 % of its speed, and neither peerd hoards what it does not take",
			nil, showSlowReader},
	}
}

// faultPath is slow enough for a transfer to have a middle.
var faultPath = cell{A: "user-drop", B: "linux-open", RTT: 20 * time.Millisecond, Rate: 40e6}

// newConnectedWorld is a world with n targets and forwards to them.
func newConnectedWorld(ctx context.Context, g ground, c cell, n int) (*tunnelWorld, error) {
	w, err := newTunnelWorld(ctx, g, c, n)
	if err != nil {
		return nil, err
	}
	if err := w.connect(ctx); err != nil {
		w.lab.Close()
		return nil, err
	}
	return w, nil
}

// bothWays are two cells, one for each direction, in the middle of data.
func bothWays(event abortEvent) []abortCell {
	return []abortCell{{event: event, moment: duringData}, {event: event, moment: duringData, reverse: true}}
}

// showStopped stops each process while both directions are busy.
func showStopped(ctx context.Context, g ground) (f finding, err error) {
	w, err := newConnectedWorld(ctx, g, faultPath, 4)
	if err != nil {
		return f, err
	}
	defer w.lab.Close()
	for i, p := range []struct {
		name string
		cmd  *natlab.Cmd
	}{{"connect", w.connects.cmd}, {"run", w.runs}} {
		if err := w.stopDuring(ctx, 2*i, p.cmd); err != nil {
			return f, fmt.Errorf("%s stopped: %w", p.name, err)
		}
	}
	f.Text = fmt.Sprintf("2 × 2 transfers of %d MiB right", stopSize>>20)
	return f, nil
}

const (
	stopSize = 24 << 20 // some 5 s of the path
	stopTime = 5 * time.Second
)

// stopDuring has a process stand still in the middle of two transfers, one in each
// direction.
func (w *tunnelWorld) stopDuring(ctx context.Context, i int, process *natlab.Cmd) error {
	var pairs []*pair
	for j, c := range bothWays(senderEnds) {
		t, err := c.open(ctx, w, i+j)
		if err != nil {
			return err
		}
		defer t.close()
		p := &t.(*abortTrial).pair
		pairs = append(pairs, p)
		if err := walk(ctx, step{p.receiver, "limit", abortMark, "told"}, step{p.sender, "send", stopSize, ""}); err != nil {
			return err
		}
	}
	for _, p := range pairs {
		if err := walk(ctx, await(p.receiver, "limited")); err != nil {
			return err
		}
	}
	if err := stopProcess(process.Process); err != nil {
		return err
	}
	for _, p := range pairs {
		if err := p.receiver.order("limit", 0); err != nil {
			return err
		}
	}
	time.Sleep(stopTime) // this is the experiment, not a wait for something
	if err := continueProcess(process.Process); err != nil {
		return err
	}
	var failed []error
	for _, p := range pairs {
		failed = append(failed, p.complete(ctx, stopSize))
	}
	return errors.Join(failed...)
}

// complete wants that everything arrives.
func (p *pair) complete(ctx context.Context, size int64) error {
	if err := walk(ctx, await(p.sender, "wrote"), step{p.sender, "close", 0, ""}); err != nil {
		return err
	}
	s, err := see(ctx, p.receiver, false)
	if err != nil {
		return err
	}
	return ending{all, clean}.check(s, size)
}

// showSpoiled changes bytes of a transfer in each direction.
func showSpoiled(ctx context.Context, g ground) (f finding, err error) {
	w, err := newConnectedWorld(ctx, g, faultPath, 3)
	if err != nil {
		return f, err
	}
	defer w.lab.Close()
	for i, c := range bothWays(pathCut) {
		if err := w.spoilDuring(ctx, c, i); err != nil {
			return f, fmt.Errorf("bytes spoiled, %v: %w", c, err)
		}
	}
	if r := runOne(ctx, w, abortCell{event: senderEnds, moment: afterData}, 2); r.err != nil {
		return f, fmt.Errorf("the next connection: %w", r.err)
	}
	return finding{Text: "2 transfers ended by a reset on either side, the next one was right"}, nil
}

// spoilDuring changes two bytes in the middle of a transfer, and wants what
// becomes of one when the path dies.
func (w *tunnelWorld) spoilDuring(ctx context.Context, c abortCell, i int) error {
	t, err := c.open(ctx, w, i)
	if err != nil {
		return err
	}
	defer t.close()
	if err := t.reach(ctx); err != nil {
		return err
	}
	from, to := w.lab.A.PublicAddr(), w.lab.B.PublicAddr()
	if c.reverse {
		from, to = to, from
	}
	w.lab.Spoil(func(p natlab.Packet) bool { return p.Src.Addr() == from && p.Dst.Addr() == to && p.Payload > 1000 })
	ctx, cancel := context.WithTimeout(ctx, abortLimit)
	defer cancel()
	return t.judge(ctx)
}

const (
	slowRate   = 100_000 // bytes per second
	slowShare  = 0.8     // of the other stream's speed alone
	sampleSlow = 0.01    // the same, where tests beside this one take the machine; a stream that is held up has 0
	slowGrowth = 96      // MiB; the window of a stream is 32 at most
)

// showSlowReader measures a stream alone and beside one whose reader is slow.
func showSlowReader(ctx context.Context, g ground) (f finding, err error) {
	w, err := newEchoWorld(ctx, g, faultPath)
	if err != nil {
		return f, err
	}
	defer w.close()
	var failed []error
	for i, way := range echoWays {
		alone, beside, grown, err := w.besideSlow(ctx, i == 1)
		if err != nil {
			return f, err
		}
		f.Text += fmt.Sprintf("%s: %.0f Mbit/s alone, %.0f beside; memory %+d and %+d MiB. ", way, alone/1e6, beside/1e6, grown[0], grown[1])
		if beside < figure(g, sampleSlow, slowShare)*alone {
			failed = append(failed, fmt.Errorf("%s: a slow reader slows another stream from %.1f to %.1f Mbit/s", way, alone/1e6, beside/1e6))
		}
		if max(grown[0], grown[1]) > slowGrowth {
			failed = append(failed, fmt.Errorf("%s: connect and run have grown by %v MiB beside a slow reader, at most %d may be", way, grown, slowGrowth))
		}
	}
	return f, errors.Join(failed...)
}

// besideSlow returns the bits per second of bulk without and with a slow reader
// beside it, and by how many MiB connect and run have grown.
func (w *echoWorld) besideSlow(ctx context.Context, fromB bool) (alone, beside float64, grown [2]int, err error) {
	fast, err := w.startBulk(ctx, fromB, 0)
	if err != nil {
		return 0, 0, grown, err
	}
	defer fast.stop()
	if err := fast.settle(ctx, faultPath.Rate/8); err != nil {
		return 0, 0, grown, err
	}
	processes := [2]*natlab.Cmd{w.connects.cmd, w.runs}
	for i, p := range processes {
		if grown[i], err = resident(p); err != nil {
			return 0, 0, grown, err
		}
	}
	alone = fast.speed()
	slow, err := w.startBulk(ctx, fromB, slowRate)
	if err != nil {
		return 0, 0, grown, err
	}
	defer slow.stop()
	if err := slow.stall(ctx, 2*slowRate); err != nil {
		return 0, 0, grown, err
	}
	beside = fast.speed()
	for i, p := range processes {
		now, err := resident(p)
		if err != nil {
			return 0, 0, grown, err
		}
		grown[i] = now - grown[i]
	}
	return alone, beside, grown, nil
}
