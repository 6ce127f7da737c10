package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/peerd/peerd/punch/natlab"
)

// pipes are a command's standard input and output, as an application's
// connection.
type pipes struct {
	in, out *os.File // that the application writes and reads
}

func (p pipes) Read(b []byte) (int, error)         { return p.out.Read(b) }
func (p pipes) Write(b []byte) (int, error)        { return p.in.Write(b) }
func (p pipes) CloseRead() error                   { return p.out.Close() }
func (p pipes) CloseWrite() error                  { return p.in.Close() }
func (p pipes) SetWriteDeadline(t time.Time) error { return p.in.SetWriteDeadline(t) }

// Close implements io.Closer.
func (p pipes) Close() error { return errors.Join(p.in.Close(), p.out.Close()) }

// startPiped starts a command with an application at its standard input and
// output.
func startPiped(cmd *natlab.Cmd) (*application, error) {
	inRead, inWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer inRead.Close()
	outRead, outWrite, err := os.Pipe()
	if err != nil {
		inWrite.Close()
		return nil, err
	}
	defer outWrite.Close()
	p := pipes{inWrite, outRead}
	cmd.Stdin, cmd.Stdout = inRead, outWrite
	if err := cmd.Start(); err != nil {
		p.Close()
		return nil, err
	}
	return pipeApp("nc", p), nil
}

// ncTrial is a cell of nc's tables, under way.
type ncTrial struct {
	pair
	cell         ncCell
	nc           *natlab.Cmd
	complaint    *strings.Builder
	near, target *application
}

// open starts the target and nc, and waits until they are connected.
func (c ncCell) open(ctx context.Context, w *tunnelWorld, i int) (trial, error) {
	target, err := w.links[i].listen(ctx)
	if err != nil {
		return nil, err
	}
	t := &ncTrial{cell: c, target: target, complaint: &strings.Builder{}}
	t.nc = w.command(context.Background(), w.lab.A, "a", "nc", w.peer, targetName(i))
	t.nc.Stderr = t.complaint
	if t.near, err = startPiped(t.nc); err != nil {
		target.kill()
		return nil, err
	}
	if t.pair = (pair{c.moment, t.target, t.near}); c.toTarget {
		t.pair = pair{c.moment, t.near, t.target}
	}
	if err := walk(ctx, await(target, "open")); err != nil {
		t.close()
		return nil, err
	}
	return t, nil
}

// close ends nc and the applications.
func (t *ncTrial) close() {
	t.near.order("close", 0)
	t.nc.Process.Kill()
	t.nc.Wait()
	t.pair.close()
}

// strike makes the event happen, if it is nc's or the target's.
func (t *ncTrial) strike() error {
	switch t.cell.event {
	case stdoutGone:
		return t.near.order("leave", 0)
	case targetCloses:
		return t.target.order("close", 0)
	case targetResets:
		return t.target.order("reset", 0)
	case targetKilled:
		return t.target.kill()
	case ncKilled:
		return t.nc.Process.Kill()
	case ncStopped:
		return t.nc.Process.Signal(syscall.SIGTERM)
	}
	return nil // stdinEnds is what judge does next
}

// judge has standard input end, waits for nc and compares with the table.
func (t *ncTrial) judge(ctx context.Context) error {
	if t.cell.event != ncStopped { // the end could be faster than the signal
		if err := t.near.order("end", 0); err != nil {
			return err
		}
	}
	want := t.cell.want()
	sent, err := t.sent(ctx, t.cell.event == stdinEnds || t.cell.event == targetCloses)
	if err != nil {
		return err
	}
	var failed []error
	if t.cell.event != stdoutGone && !t.cell.toTarget {
		s, err := see(ctx, t.near, false)
		if err == nil && !(want.gets.is(s.read, sent) && s.read.How == endEOF) {
			err = fmt.Errorf("%v; expected %v of %d bytes", s, ending{want.gets, clean}, sent)
		}
		failed = append(failed, prefixed("standard output", err))
	}
	if want.target != unseen {
		of, much := want.gets, sent
		if !t.cell.toTarget {
			of, much = nothing, 0
		}
		s, err := see(ctx, t.target, !t.cell.toTarget && t.moment == duringData)
		if err == nil {
			err = ending{of, want.target}.check(s, much)
		}
		failed = append(failed, prefixed("target", err))
		// It is done, and what it leaves open nc would wait for.
		t.target.order("close", 0)
	}
	return errors.Join(append(failed, t.checkExit(ctx, want.exits))...)
}

func prefixed(who string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", who, err)
}

// checkExit waits for nc. Where it fails there is one line that says that not
// everything has arrived, else none.
func (t *ncTrial) checkExit(ctx context.Context, want string) error {
	ended := make(chan error, 1)
	go func() { ended <- t.nc.Wait() }()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		return fmt.Errorf("nc has not exited: %w", context.Cause(ctx))
	}
	got := fmt.Sprint(t.nc.ProcessState.ExitCode())
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signaled() {
		got = ncIsKilled
	}
	said := t.complaint.String()
	oneLine := strings.Count(said, "\n") == 1
	ok := slices.Contains(strings.Split(want, " or "), got)
	switch got {
	case "1":
		ok = ok && oneLine && (strings.Contains(said, "cut off") || strings.Contains(said, "had taken all"))
	case "9", "143":
		ok = ok && oneLine
	default:
		ok = ok && said == ""
	}
	if !ok {
		return fmt.Errorf("nc: exit code %s, with %q; expected %s", got, said, want)
	}
	return nil
}
