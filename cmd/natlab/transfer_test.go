package main

import (
	"bytes"
	"errors"
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

// Between two NATs that nothing gets through, peerd says so, with exit code 8.
func TestNoDirectConnection(t *testing.T) {
	natlab.Require(t)
	t.Parallel()
	dir := t.TempDir()
	peerd, err := build(t.Context(), dir, "peerd")
	if err != nil {
		t.Fatal(err)
	}
	w, err := newWorld(t.Context(), peerd, filepath.Join(dir, "state"), cell{A: "linux-random", B: "linux-random"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.lab.Close()
	var stdout, stderr bytes.Buffer
	nc := w.command(t.Context(), w.lab.A, "a", "nc", w.peer, "22")
	nc.Stdout, nc.Stderr = &stdout, &stderr
	err = nc.Run()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 8 {
		t.Errorf("nc: %v, want exit code 8", err)
	}
	line := stderr.String()
	if stdout.Len() > 0 || strings.Count(line, "\n") != 1 || !strings.HasPrefix(line, "peerd: no direct connection to peer "+w.peer+": ") {
		t.Errorf("nc says %q and %q", stdout.String(), line)
	}
	t.Log(line)
}
