package linuxrules

import (
	"testing"

	"github.com/peerd/peerd/punch/reuse/survey"
)

// runs is how often every cell is tried here; the lab's proof tries 100 times.
const runs = 3

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
		if cells < 1000 || t.Failed() {
			t.Fatalf("%d of %d cells differ", len(differ), cells)
		}
	}
}
