package main

import (
	"path/filepath"
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
