package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/peer/tunnel"
	"github.com/peerd/peerd/proto"
)

// ncOptions are the flags of nc.
type ncOptions struct {
	localPort uint16
	timeout   time.Duration
}

func (p *program) ncCommand() *cobra.Command {
	var o ncOptions
	cmd := &cobra.Command{
		Use:   "nc PEER TARGET",
		Short: "Join standard input and output to a target of a peer",
		Long: `Join standard input and output to a target of a peer, for pipes and for ssh's
ProxyCommand. PEER is a name or an ID. TARGET is a port number, which is one of the
peer's loopback, HOST:PORT, a name that the peer has given to a target,
unix:/path or just /path.

The end of standard input is passed on to the target, whose answer is still
read; the end of what the target sends is passed on to who reads standard
output. nc exits with 0 when both have ended, and everything has arrived. If
standard input is a terminal, it exits as soon as the target has ended.

A target that the peer does not expose or permit, or cannot reach, is exit code 9;
a peer that does not let this one connect at all is 7. A transfer that was cut off
exits with 1, never with 0. Nothing is printed
unless something fails; -v shows each step.`,
		Example: `  ssh -o ProxyCommand='peerd nc %h 22' me@pek5…
  tar c src | peerd nc pek5… backup`,
		Args: takes("PEER", "TARGET"),
		RunE: p.begin(func(cmd *cobra.Command, args []string) error { return p.nc(cmd, o, args[0], args[1]) }),
	}
	f := cmd.Flags()
	f.Uint16Var(&o.localPort, "local-port", 0, "local TCP `PORT` for everything (default a free one)")
	portModeFlag(cmd)
	noGuessFlag(cmd)
	f.DurationVar(&o.timeout, "timeout", 30*time.Second, "exit with 124 if the target has not answered within `LIMIT`")
	return cmd
}

func (p *program) nc(cmd *cobra.Command, o ncOptions, peerText, target string) error {
	id, err := p.parsePeer(cmd, peerText)
	if err != nil {
		return err
	}
	if target, err = tunnel.ParseTarget(target); err != nil {
		return &usageError{cmd, "TARGET: " + err.Error()}
	}
	if o.timeout <= 0 {
		return &usageError{cmd, p.settings.origin("timeout") + " is a time above zero"}
	}
	log := p.logger(silent)
	cfg, err := p.nodeConfig(cmd, log)
	if err != nil {
		return err
	}
	g := p.progressTo(id, log, false)
	cfg.LocalPort, cfg.Events = o.localPort, g.event
	return p.ncThrough(cmd.Context(), cfg, g, o.timeout, id, target)
}

// ncThrough connects and exchanges the data.
func (p *program) ncThrough(ctx context.Context, cfg peer.Config, g *progress, timeout time.Duration, id proto.ID, target string) error {
	connecting, cancel := g.limit(ctx, timeout)
	defer cancel()
	node, err := startNode(connecting, cfg, g)
	if node != nil {
		defer node.Close()
	}
	if err != nil {
		return err
	}
	s, err := node.Dial(connecting, id, target)
	if err != nil {
		return interrupted(connecting, err)
	}
	err = newExchange(s, p.stdin, p.stdout).run(ctx, connecting)
	cfg.Logger.Debug("exchange ended", "err", err, slog.String("target", target))
	return err
}

// startNode starts a node and shows it. The node is to be closed even if there
// is an error.
func startNode(ctx context.Context, cfg peer.Config, g *progress) (*peer.Node, error) {
	node, err := peer.New(cfg)
	if err != nil {
		return nil, err
	}
	g.begin()
	return node, interrupted(ctx, node.Start(ctx))
}
