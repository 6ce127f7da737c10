package peer

import (
	"context"
	"errors"
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
	if here, epoch, ok := n.needsGlimpse(); ok {
		n.glimpse(ctx, here, epoch)
		return
	}
	n.refresh(ctx)
}

// glimpseLimit bounds what a request waits for a glimpse.
const glimpseLimit = 2 * time.Second

// glimpse has a quick look at what the NATs do.
func (n *Node) glimpse(ctx context.Context, here rendezvous.State, epoch uint64) {
	ctx, cancel := context.WithTimeout(ctx, glimpseLimit)
	defer cancel()
	select {
	case n.study.one <- struct{}{}:
		defer func() { <-n.study.one }()
	case <-ctx.Done():
		return
	}
	found, err := nat.Glimpse(ctx, n.natConfig(here))
	if errors.Is(err, nat.ErrNoServer) {
		n.cfg.Logger.Warn("the server's probe ports do not answer, which takes time and may cost the connection; let them through its firewall", "ports", here.Probing.Ports)
		return
	}
	if err != nil {
		n.cfg.Logger.Debug("a quick look at the NATs failed", "err", err)
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.study.epoch == epoch {
		n.study.glimpsed = &found
	}
}

// needsGlimpse reports whether nothing is known here, though the server sees another
// port than the node's own. There is one glimpse for a place.
func (n *Node) needsGlimpse() (rendezvous.State, uint64, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := &n.study
	switch {
	case !n.registered, n.mode == reuse.Sequential, len(s.here.Probing.Ports) == 0,
		s.here.Local.Port() == s.here.Observed.Port(), s.found != nil, s.glanced == placeOf(s.here):
		return rendezvous.State{}, 0, false
	}
	s.glanced = placeOf(s.here)
	s.interruptLocked()
	return s.here, s.epoch, true
}

// refresh makes fresh mappings where peers have to predict the next one. It costs
// nothing elsewhere.
func (n *Node) refresh(ctx context.Context) {
	fresh := n.refreshing()
	if fresh == nil {
		return
	}
	select {
	case <-fresh:
	case <-ctx.Done():
	}
}

// samplePause is from one making of samples to the next at least. What is that young
// will do; and offers, which may come as fast as a server likes, do not have more than 40
// connections a second made.
const samplePause = 200 * time.Millisecond

// refreshing has fresh mappings made until the channel is closed; nil if there is
// nothing to wait for. Whoever asks meanwhile waits for the same.
func (n *Node) refreshing() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := &n.study
	switch best := s.bestLocked(); {
	case n.closing || !n.registered || best == nil || !best.NeedsSamples() || len(s.here.Probing.Ports) == 0:
		return nil
	case s.sampling != nil:
		return s.sampling
	case time.Since(s.sampled) < samplePause:
		return nil
	}
	s.interruptLocked() // its mappings would come between the samples and the punch
	done := make(chan struct{})
	s.sampling = done
	n.tasks.Go(func() {
		defer n.sampled(done)
		n.resample()
	})
	return done
}

func (n *Node) sampled(done chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.study.sampling, n.study.sampled = nil, time.Now()
	close(done)
}

// resample puts fresh samples into what is known here.
func (n *Node) resample() {
	ctx, cancel := context.WithTimeout(n.active, sampleLimit)
	defer cancel()
	select {
	case n.study.one <- struct{}{}:
		defer func() { <-n.study.one }()
	case <-ctx.Done():
		return
	}
	n.mu.Lock()
	here, epoch, best := n.study.here, n.study.epoch, n.study.bestLocked()
	n.mu.Unlock()
	if best == nil || !best.NeedsSamples() || len(here.Probing.Ports) == 0 {
		return // it has been measured meanwhile
	}
	cfg := n.natConfig(here)
	fresh := *best
	fresh.Resample(ctx, cfg.Net, cfg.Near[0])
	n.mu.Lock()
	defer n.mu.Unlock()
	switch s := &n.study; {
	case s.epoch != epoch: // they may come from two networks
	case s.found != nil:
		s.learnLocked(placeOf(here), &fresh)
	default:
		s.glimpsed = &fresh
	}
}
