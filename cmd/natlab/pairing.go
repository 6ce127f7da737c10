package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/peerd/peerd/punch/natlab"
)

// pairClaims are about machines that get to know each other.
func pairClaims() []claim {
	return []claim{
		{"pair", "a ticket of `peerd pair`, given to `peerd pair -` behind another NAT, makes each machine answer the other by the name that it gave it",
			nil, showPair},
	}
}

// showPair pairs A and B, and has each call the other.
func showPair(ctx context.Context, g ground) (f finding, err error) {
	w, err := newServedWorld(ctx, g.peerd, g.dir, cell{A: "linux-open", B: "user-drop", RTT: 40 * time.Millisecond})
	if err != nil {
		return f, err
	}
	defer w.lab.Close()
	creator := w.command(ctx, w.lab.A, "a", "pair", "--name", "bob")
	ticket, said, err := ready(creator)
	if err != nil {
		return f, err
	}
	joiner := w.command(ctx, w.lab.B, "b", "pair", "-", "--name", "alice")
	joiner.Stdin = strings.NewReader(ticket + "\n")
	if out, err := joiner.CombinedOutput(); err != nil {
		return f, fmt.Errorf("peerd pair -: %w: %s", err, out)
	}
	if err := creator.Wait(); err != nil {
		return f, fmt.Errorf("peerd pair: %w: %s", err, said)
	}
	return f, errors.Join(
		w.callByName(ctx, w.lab.A, "a", "bob", w.lab.B, "b"),
		w.callByName(ctx, w.lab.B, "b", "alice", w.lab.A, "a"),
	)
}

// callByName runs the daemon on one host, and pings it from the other by its
// name.
func (w *world) callByName(ctx context.Context, from *natlab.Host, fromState, name string, to *natlab.Host, toState string) error {
	daemon := w.command(ctx, to, toState, "run")
	if _, _, err := ready(daemon); err != nil {
		return err
	}
	defer daemon.Wait()
	defer daemon.Process.Kill()
	if out, err := w.command(ctx, from, fromState, "ping", "-c", "1", name).CombinedOutput(); err != nil {
		return fmt.Errorf("peerd ping %s: %w: %s", name, err, out)
	}
	return nil
}
