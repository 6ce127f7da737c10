package main

import (
	"context"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peerd/peerd/punch/natlab"
)

// TestTransferSample moves a file both ways at once with the real peerd. Larger
// ones are for the prove command.
func TestTransferSample(t *testing.T) {
	natlab.Require(t)
	t.Parallel()
	dir := t.TempDir()
	peerd, err := build(t.Context(), dir, "peerd")
	if err != nil {
		t.Fatal(err)
	}
	c := cell{A: "linux-icmp", B: "user-rst", RTT: 40 * time.Millisecond}
	if err := transfer(t.Context(), peerd, filepath.Join(dir, "state"), c, 8<<20); err != nil {
		t.Error(err)
	}
}

// TestCutTransfer shows that a transfer that was cut off never looks complete:
// nc exits with 1, whether the peer's process dies or the path goes dead in
// silence. The latter takes until the session is given up, 30 s.
func TestCutTransfer(t *testing.T) {
	natlab.Require(t)
	dir := t.TempDir()
	peerd, err := build(t.Context(), dir, "peerd")
	if err != nil {
		t.Fatal(err)
	}
	cuts := map[string]func(w *world) error{
		"peer killed": func(w *world) error { return w.runs.Process.Kill() },
		"path cut":    func(w *world) error { return w.lab.Cut(w.lab.B, true) },
	}
	for name, cut := range cuts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			testCut(t, peerd, filepath.Join(dir, name), cut)
		})
	}
}

func testCut(t *testing.T, peerd, dir string, cut func(*world) error) {
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	w, err := newWorld(ctx, peerd, dir, cell{A: "linux-drop", B: "user-drop", RTT: 8 * time.Millisecond}, "file=127.0.0.1:9000")
	if err != nil {
		t.Fatal(err)
	}
	defer w.lab.Close()
	l, err := w.lab.B.Listen("127.0.0.1:9000")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go serveTrickle(l.Accept)

	cmd := w.command(ctx, w.lab.A, "a", "nc", w.peer, "file")
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(out, make([]byte, 1<<10)); err != nil {
		t.Fatalf("the transfer did not begin: %v: %s", err, complaint.String())
	}
	if err := cut(w); err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, out)
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("nc ended with %v, want exit code 1", err)
	}
	if got := complaint.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "cut off") {
		t.Errorf("nc says %q, want one line that says it was cut off", got)
	}
}

// serveTrickle sends a little, again and again, until the connection dies.
func serveTrickle[C io.WriteCloser](accept func() (C, error)) {
	conn, err := accept()
	if err != nil {
		return
	}
	defer conn.Close()
	for {
		if _, err := conn.Write(make([]byte, 512)); err != nil {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}
