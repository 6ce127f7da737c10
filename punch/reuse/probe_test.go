package reuse

import (
	"context"
	"errors"
	"testing"
	"time"
)

// BenchmarkProbe measures what every start of a node waits for: less than 20 ms.
func BenchmarkProbe(b *testing.B) {
	for b.Loop() {
		if _, err := Probe(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

// The best mode is one that works, and reasons are given for those that do not.
func TestProbeAgreesWithItself(t *testing.T) {
	c, err := Probe(t.Context())
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

// Whoever gives up does not wait for the rest, wherever it has come to, and is told
// that it was his doing.
func TestProbeEnds(t *testing.T) {
	for d := time.Duration(0); d < 20*time.Millisecond; d += 200 * time.Microsecond {
		took := probeFor(t, d)
		for range 2 { // a machine that is busy is so by chance
			if took > d+stepLimit/2 {
				took = min(took, probeFor(t, d))
			}
		}
		if took > d+stepLimit/2 {
			t.Errorf("ended %v after %v", took, d)
		}
	}
}

// probeFor gives a probe up after d and returns how long it took.
func probeFor(t *testing.T, d time.Duration) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	since := time.Now()
	c, err := Probe(ctx)
	if err != nil && (!errors.Is(err, context.DeadlineExceeded) || c != Capabilities{}) {
		t.Errorf("after %v: %+v, %v", d, c, err)
	}
	return time.Since(since)
}

// A stranger that does not come is not waited for by who has given up.
func TestReachEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	b, err := newBench(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	p := mustClaimIn(t, 0, Shared)
	thief := make(chan struct{})
	go func() { // takes what comes, so that reach waits in vain
		defer close(thief)
		defer cancel()
		if c, err := b.listener(p).Accept(); err == nil {
			time.Sleep(50 * time.Millisecond) // the stranger has connected
			cancel()
			discard(c)
		}
	}()
	time.Sleep(10 * time.Millisecond) // it is the first to wait
	since := time.Now()
	if err := b.reach(p); err == nil || time.Since(since) >= stepLimit {
		t.Errorf("reached after %v: %v", time.Since(since), err)
	}
	<-thief
}
