package linuxrules

import (
	"testing"

	"github.com/peerd/peerd/punch/reuse/survey"
)

// runs is how often every cell is tried here; the lab's proof tries 100 times.
const runs = 3

// fewest is how many cells a machine without IPv6 has.
const fewest = 3*3*3*16 + 4*4*16

// TestKernelFollowsTheRules tries every case on this kernel and compares it
// with the rules. A cell that differs is a mistake in the rules as they are
// written here, in the probe, or news about the kernel.
func TestKernelFollowsTheRules(t *testing.T) {
	h, err := survey.Open()
	if err != nil {
		t.Fatal(err)
	}
	for _, why := range h.LeftOut() {
		t.Log("left out: ", why)
	}
	for range runs {
		cells, differ, err := Check(t.Context(), h)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range differ {
			t.Error(d)
		}
		if cells < fewest || t.Failed() {
			t.Fatalf("%d of %d cells differ, want 0 of %d or more", len(differ), cells, fewest)
		}
	}
}
