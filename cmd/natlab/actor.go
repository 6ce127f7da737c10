package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/peerd/peerd/punch/natlab"
)

// actor is an agent with what the demo shows of it.
type actor struct {
	*conductor
	local, observed netip.AddrPort
}

// newActor starts an agent on a host.
func newActor(ctx context.Context, h *natlab.Host) (*actor, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c, err := conduct(h, natlab.NoFilter)
	return &actor{conductor: c}, err
}

func (a *actor) name() string { return a.host.Name() }

// register starts the agent's node.
func (a *actor) register(ctx context.Context, o order) error {
	if err := a.say(o); err != nil {
		return err
	}
	r, err := a.follow(ctx, "registered", nil)
	a.local, a.observed = netip.AddrPortFrom(a.host.Addr(), r.Port), r.Observed
	return err
}

// delay waits until the agent is frozen, lets it be for a while, and continues
// it.
func (a *actor) delay(ctx context.Context, d time.Duration) error {
	if _, err := a.follow(ctx, "frozen", nil); err != nil {
		return err
	}
	defer continueProcess(a.cmd.Process)
	select {
	case <-time.After(d): // this is what is shown, not a wait for something
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// follow returns the next report of a kind; see is shown those before it. A
// failure that the agent reports is an error.
func (a *actor) follow(ctx context.Context, event string, see func(report)) (report, error) {
	ctx, cancel := context.WithTimeout(ctx, agentLimit)
	defer cancel()
	for {
		select {
		case r, ok := <-a.reports:
			switch {
			case !ok:
				return r, fmt.Errorf("the agent on %s has died", a.name())
			case r.Event == event:
				return r, nil
			case r.Event == "failed":
				return r, fmt.Errorf("host %s: %s", a.name(), r.Error)
			case see != nil:
				see(r)
			}
		case <-ctx.Done():
			return report{}, fmt.Errorf("waiting for %q from the agent on %s: %w", event, a.name(), ctx.Err())
		}
	}
}

// drain takes what an agent still says, once it is about to end.
func (a *actor) drain() {
	for range a.reports {
	}
}
