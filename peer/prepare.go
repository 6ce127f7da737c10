package peer

import (
	"context"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch/nat"
	"github.com/peerd/peerd/punch/reuse"
	"github.com/peerd/peerd/rendezvous"
)

// What a node does about its NATs right before an introduction.

// natReport is what peers are told; nil if nothing is known.
func (n *Node) natReport() *proto.NATReport {
	n.mu.Lock()
	defer n.mu.Unlock()
	best := n.study.bestLocked()
	if best == nil {
		return nil
	}
	r := best.NATReport
	if len(r.Samples) > 0 {
		r.Age = uint32(min(time.Since(best.Sampled).Microseconds(), 1<<32-1))
	}
	return &r
}

// sampleLimit bounds what a punch waits for samples.
const sampleLimit = 900 * time.Millisecond

// prepare finds out what a request for an introduction is to state, as far as that
// is not known yet. It costs nothing where the NAT, if there is one, keeps ports.
func (n *Node) prepare(ctx context.Context) {
	if here, ok := n.needsGlimpse(); ok {
		n.glimpse(ctx, here)
		return
	}
	n.refresh(ctx)
}

// glimpseLimit bounds what a request waits for a glimpse.
const glimpseLimit = 2 * time.Second

// glimpse has a quick look at what the NATs do.
func (n *Node) glimpse(ctx context.Context, here rendezvous.State) {
	ctx, cancel := context.WithTimeout(ctx, glimpseLimit)
	defer cancel()
	select {
	case n.study.one <- struct{}{}:
		defer func() { <-n.study.one }()
	case <-ctx.Done():
		return
	}
	found, err := nat.Glimpse(ctx, n.natConfig(here))
	if err != nil {
		n.cfg.Logger.Debug("a quick look at the NATs failed", "err", err)
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.study.glanced == placeOf(n.study.here) {
		n.study.glimpsed = &found
	}
}

// needsGlimpse reports whether nothing is known here, though the server sees another
// port than the node's own. There is one glimpse for a place.
func (n *Node) needsGlimpse() (rendezvous.State, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := &n.study
	switch {
	case !n.registered, n.mode == reuse.Sequential, len(s.here.Probing.Ports) == 0,
		s.here.Local.Port() == s.here.Observed.Port(), s.found != nil, s.glanced == placeOf(s.here):
		return rendezvous.State{}, false
	}
	s.glanced = placeOf(s.here)
	s.interruptLocked()
	return s.here, true
}

// refresh makes fresh mappings where peers have to predict the next one. It costs
// nothing elsewhere.
func (n *Node) refresh(ctx context.Context) {
	here, found := n.needsSamples()
	if found == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, sampleLimit)
	defer cancel()
	select {
	case n.study.one <- struct{}{}:
		defer func() { <-n.study.one }()
	case <-ctx.Done():
		return
	}
	cfg := n.natConfig(here)
	fresh := *found
	fresh.Resample(ctx, cfg.Net, cfg.Near[0])
	n.mu.Lock()
	defer n.mu.Unlock()
	if found == n.study.glimpsed {
		n.study.glimpsed = &fresh
		return
	}
	n.study.learnLocked(placeOf(here), &fresh)
}

// needsSamples returns what was found out if a prediction needs more.
func (n *Node) needsSamples() (rendezvous.State, *nat.Result) {
	n.mu.Lock()
	defer n.mu.Unlock()
	found := n.study.bestLocked()
	if found == nil || !found.NeedsSamples() || !n.registered || len(n.study.here.Probing.Ports) == 0 {
		return rendezvous.State{}, nil
	}
	n.study.interruptLocked() // its mappings would come between the samples and the punch
	return n.study.here, found
}

// refreshing is refresh for an answer that waits until the channel is closed; nil
// if there is nothing to wait for.
func (n *Node) refreshing() <-chan struct{} {
	if _, found := n.needsSamples(); found == nil {
		return nil
	}
	done := make(chan struct{})
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closing {
		return nil
	}
	n.tasks.Go(func() {
		defer close(done)
		n.refresh(n.active)
	})
	return done
}
