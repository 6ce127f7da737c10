package reuse

import (
	"testing"
)

// BenchmarkProbe measures what every start of a node waits for: less than 20 ms.
func BenchmarkProbe(b *testing.B) {
	for b.Loop() {
		if _, err := Probe(); err != nil {
			b.Fatal(err)
		}
	}
}

// The best mode is one that works, and reasons are given for those that do not.
func TestProbeAgreesWithItself(t *testing.T) {
	c, err := Probe()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%+v", c)
	if (c.Mode == Shared) != (c.NotShared == nil) || (c.Mode == Sequential) != (c.NotShared != nil && c.NotDialOnly != nil) {
		t.Errorf("%+v does not agree with itself", c)
	}
	p := mustClaimIn(t, 0, c.Mode)
	if p.Mode() != c.Mode || (len(p.Listeners()) > 0) != (c.Mode == Shared) {
		t.Errorf("a port in mode %v has mode %v and %d listeners", c.Mode, p.Mode(), len(p.Listeners()))
	}
	if c.Mode != Sequential {
		dialTwo(t, p)
	}
}
