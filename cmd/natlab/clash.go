package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/peerd/peerd/punch/natlab"
)

// clashClaims are about ports that somebody has already.
func clashClaims() []claim {
	return []claim{
		{"port clash", "`peerd run --local-port N` and `peerd connect --local-port N`, where another program listens on N, with or without SO_REUSEPORT, or is another peerd, exit with 1 and one line that names the port and what to do; they take no other port, and nothing happens to who has it",
			nil, showClash},
		{"hijack", "a second process of the same user that sets SO_REUSEPORT and listens on a node's port gets none of its connections, those of peers or others; a process of another user cannot listen there",
			nil, showHijack},
	}
}

// clashCell has no NAT in front of B, so that its listener is what peers reach.
var clashCell = cell{A: "linux-drop", B: "public", RTT: 10 * time.Millisecond}

// showClash has every kind of holder.
func showClash(ctx context.Context, g ground) (f finding, err error) {
	w, err := newRestarts(ctx, g, clashCell)
	if err != nil {
		return f, err
	}
	defer w.close()
	f.Table = &table{Head: []string{"who has the port", "command", "exit code", "it says"}}
	for _, holder := range []struct {
		name string
		hold func(context.Context, *restarts) (port uint16, unharmed func() error, err error)
	}{
		{"a listener without options", heldByRival(45001, rivalPlain)},
		{"a listener with SO_REUSEADDR and SO_REUSEPORT", heldByRival(45002, rivalShares)},
		{"peerd run", heldByPeerd},
	} {
		port, unharmed, err := holder.hold(ctx, w)
		if err != nil {
			return f, err
		}
		for _, args := range [][]string{{"run"}, {"connect", w.run.registered}} {
			code, says, err := w.clash(ctx, port, args)
			f.Table.Rows = append(f.Table.Rows, []string{holder.name, "peerd " + args[0], fmt.Sprint(code), says})
			if err = errors.Join(err, unharmed()); err != nil {
				return f, fmt.Errorf("%s, peerd %s: %w", holder.name, args[0], err)
			}
		}
	}
	f.Text = fmt.Sprintf("%d of %d commands", len(f.Table.Rows), len(f.Table.Rows))
	return f, nil
}

// clash runs a command that wants the port, and returns its exit code and its one
// line.
func (w *restarts) clash(ctx context.Context, port uint16, args []string) (code int, says string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	cmd := w.command(ctx, w.lab.B, "clash", append(args, "--local-port", fmt.Sprint(port), "--log-level", "error")...)
	var out, complaint strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &complaint
	cmd.Run() // it fails
	says = strings.TrimSpace(complaint.String())
	want := fmt.Sprintf("peerd: local port %d is in use by another program", port)
	if code = cmd.ProcessState.ExitCode(); code != 1 || out.Len() > 0 || !strings.HasPrefix(says, want) || strings.Contains(says, "\n") {
		err = fmt.Errorf("exit code %d, %q and %q; expected 1 and one line that begins with %q", code, out.String(), says, want)
	}
	return code, says, err
}

// heldByRival has another process listen, which must get its connections still.
func heldByRival(port uint16, options int) func(context.Context, *restarts) (uint16, func() error, error) {
	return func(ctx context.Context, w *restarts) (uint16, func() error, error) {
		r, err := w.startRival(ctx, w.lab.B)
		if err != nil {
			return 0, nil, err
		}
		refusal, err := r.listen(port, options)
		if err == nil && refusal != "" {
			err = fmt.Errorf("the rival cannot listen: %s", refusal)
		}
		return port, func() error { return r.stillAccepts(ctx, w.lab.A, netip.AddrPortFrom(w.lab.B.Addr(), port)) }, err
	}
}

// stillAccepts makes some connections to a rival, and wants all to be accepted.
func (r *rival) stillAccepts(ctx context.Context, from *natlab.Host, at netip.AddrPort) error {
	const dials = 8
	if err := dialOften(ctx, from, at, dials); err != nil {
		return err
	}
	n, err := r.accepted()
	if err == nil && n != dials {
		err = fmt.Errorf("who has the port has got %d of %d connections", n, dials)
	}
	return err
}

// dialOften makes connections one after the other, and returns when the last one
// is in whosever queue.
func dialOften(ctx context.Context, from *natlab.Host, to netip.AddrPort, dials int) error {
	for range dials {
		c, err := from.Dial(ctx, to.String())
		if err != nil {
			return err
		}
		defer c.Close()
	}
	time.Sleep(10 * clashCell.RTT) // nothing tells who got none
	return nil
}

// heldByPeerd is for the port of the running peerd run, which must be connected
// as before.
func heldByPeerd(ctx context.Context, w *restarts) (uint16, func() error, error) {
	if err := w.awaitEcho(ctx); err != nil {
		return 0, nil, err
	}
	before := w.connect.said.String()
	return w.run.port, func() error {
		c, err := w.forward(ctx, "echo")
		if err != nil {
			return err
		}
		defer c.Close()
		if now := w.connect.said.String(); now != before {
			err = fmt.Errorf("its peer says: %s", strings.TrimPrefix(now, before))
		}
		return errors.Join(err, echoByte(c))
	}, nil
}

const hijackDials = 200 // to any port: the listener of a node leaves them in its queue

// showHijack has rivals on the port of a node that peers reach by its listener.
func showHijack(ctx context.Context, g ground) (f finding, err error) {
	w, err := newRestarts(ctx, g, clashCell)
	if err != nil {
		return f, err
	}
	defer w.close()
	thief, err := w.listeningRival(ctx, w.run.port)
	if err != nil {
		return f, err
	}
	unpinned, err := w.stolenFromRival(ctx)
	if err != nil {
		return f, err
	}
	other, err := w.otherUser(ctx)
	if err != nil {
		return f, err
	}
	meetings := figure(g, 3, 20)
	if err := w.meetAgain(ctx, meetings); err != nil {
		return f, err
	}
	if err := dialOften(ctx, w.lab.A, netip.AddrPortFrom(w.lab.B.Addr(), w.run.port), hijackDials); err != nil {
		return f, err
	}
	n, err := thief.accepted()
	if err == nil && n != 0 {
		err = errors.New("the second process got some")
	}
	f.Text = fmt.Sprintf("%d of %d connections and %d sessions; from a listener that is not pinned, %d of %d; another user: %s", n, hijackDials, meetings, unpinned, hijackDials, other)
	return f, err
}

// listeningRival shares a port of B.
func (w *restarts) listeningRival(ctx context.Context, port uint16) (*rival, error) {
	r, err := w.startRival(ctx, w.lab.B)
	if err != nil {
		return nil, err
	}
	refusal, err := r.listen(port, rivalShares)
	if err == nil && refusal != "" {
		err = fmt.Errorf("a second process cannot listen, so that nothing is shown: %s", refusal)
	}
	return r, err
}

// stolenFromRival is how many connections the same thief gets from a listener
// that is not pinned: without any the experiment would show nothing.
func (w *restarts) stolenFromRival(ctx context.Context) (n int, err error) {
	const port = 45003
	var thief *rival
	for range 2 { // the second one is the thief
		if thief, err = w.listeningRival(ctx, port); err != nil {
			return 0, err
		}
	}
	if err := dialOften(ctx, w.lab.A, netip.AddrPortFrom(w.lab.B.Addr(), port), hijackDials); err != nil {
		return 0, err
	}
	n, err = thief.accepted()
	if err == nil && n == 0 {
		err = errors.New("nothing can be stolen here even from a listener that is not pinned")
	}
	return n, err
}

// meetAgain has connect started anew n times.
func (w *restarts) meetAgain(ctx context.Context, n int) error {
	for range n {
		if err := errors.Join(kill(w.connect.cmd), w.start(ctx, w.connect), w.awaitEcho(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// otherUser has a process of another user try to listen on the node's port.
func (w *restarts) otherUser(ctx context.Context) (says string, err error) {
	r, err := w.startRival(ctx, w.lab.B)
	if err != nil {
		return "", err
	}
	defer r.stop()
	if why, ok, err := r.ask("other"); err != nil || !ok {
		return "not tried, " + why, err
	}
	refusal, err := r.listen(w.run.port, rivalShares)
	if err == nil && refusal != "bind EADDRINUSE" {
		err = fmt.Errorf("another user's process can listen on the node's port, or: %q", refusal)
	}
	return refusal, err
}
