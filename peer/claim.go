package peer

import (
	"context"
	"errors"
	"fmt"

	"github.com/peerd/peerd/punch"
	"github.com/peerd/peerd/punch/reuse"
)

// claim finds out how the local port can be used, and takes it. Finding out can
// take a while, during which the node is not locked.
func (n *Node) claim(ctx context.Context) error {
	if err := n.unclaimed(); err != nil {
		return err
	}
	system, err := n.examine(ctx)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.unclaimedLocked(); err != nil {
		return err
	}
	return n.claimLocked(system)
}

func (n *Node) unclaimed() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.unclaimedLocked()
}

// unclaimedLocked returns why the node cannot be started, or nil.
func (n *Node) unclaimedLocked() error {
	switch {
	case n.closing:
		return ErrClosed
	case n.port != nil:
		return errors.New("the node has been started already")
	}
	return nil
}

// examine finds out what the system can do with a port, until ctx or the node
// ends. A mode that the configuration names is taken at its word if that fails.
func (n *Node) examine(ctx context.Context) (reuse.Capabilities, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(n.active, cancel)()
	system, err := n.probe(ctx)
	switch mode := n.cfg.PortMode; {
	case err == nil:
		return system, nil
	case n.active.Err() != nil:
		return reuse.Capabilities{}, ErrClosed
	case ctx.Err() != nil:
		return reuse.Capabilities{}, err
	case mode == 0:
		return reuse.Capabilities{}, fmt.Errorf("%w; if this machine cannot use its loopback interface bring that up, or set port-mode", err)
	default:
		n.cfg.Logger.Warn("going on without knowing whether the port mode works here, and without quiet dials", "mode", mode, "err", err)
		return reuse.Capabilities{Mode: mode}, nil
	}
}

func (n *Node) claimLocked(system reuse.Capabilities) error {
	mode, notShared, err := n.cfg.chooseMode(system)
	if err != nil {
		return err
	}
	port, err := reuse.Claim(n.cfg.LocalPort, mode)
	if err != nil {
		return err
	}
	n.sharing, n.mode, n.notShared, n.port = system, mode, notShared, port
	n.gate = punch.NewGate(n.cfg.Logger)
	return nil
}
