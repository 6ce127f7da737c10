package main

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/proto"
)

// pingOptions are the flags of ping.
type pingOptions struct {
	count       int
	untilDirect bool
	interval    time.Duration
	timeout     time.Duration
}

// pingAnswer is a line of "ping --json".
type pingAnswer struct {
	Peer   string  `json:"peer"`
	Seq    int     `json:"seq"`     // from 1
	Path   string  `json:"path"`    // "direct"
	Remote string  `json:"remote"`  // the peer's end of the path
	TimeMS float64 `json:"time_ms"` // round trip in milliseconds
}

func (p *program) pingCommand() *cobra.Command {
	var o pingOptions
	cmd := &cobra.Command{
		Use:   "ping PEER",
		Short: "Measure the round trip to a peer",
		Long: `Connect to a peer and measure the round trip to its peerd, one line a probe:

  direct 198.51.100.9:40122 time=31.2ms

PEER is a name or a peer ID. The peer must allow this machine.

With --json, a line a probe: {"peer", "seq", "path", "remote", "time_ms"}.`,
		Example: "  peerd ping -c 3 pek5…",
		Args:    takes("PEER"),
		RunE:    p.begin(func(cmd *cobra.Command, args []string) error { return p.ping(cmd, o, args[0]) }),
	}
	f := cmd.Flags()
	f.IntVarP(&o.count, "count", "c", 10, "`NUMBER` of probes; 0 goes on until interrupted")
	f.BoolVar(&o.untilDirect, "until-direct", false, "stop at the first probe that takes a direct path")
	f.DurationVar(&o.interval, "interval", time.Second, "`TIME` between probes")
	f.DurationVar(&o.timeout, "timeout", 30*time.Second, "exit with 124 if connecting, or a probe, takes longer than `LIMIT`")
	portModeFlag(cmd)
	noGuessFlag(cmd)
	return cmd
}

func (p *program) ping(cmd *cobra.Command, o pingOptions, peerText string) error {
	id, err := p.parsePeer(cmd, peerText)
	if err != nil {
		return err
	}
	switch {
	case o.count < 0:
		return &usageError{cmd, p.settings.origin("count") + " is not negative"}
	case o.interval <= 0 || o.timeout <= 0:
		return &usageError{cmd, p.settings.origin("interval") + " and " + p.settings.origin("timeout") + " are times above zero"}
	}
	log := p.logger(slog.LevelInfo)
	cfg, err := p.nodeConfig(cmd, log)
	if err != nil {
		return err
	}
	g := p.progressTo(id, log, true)
	cfg.Events = g.event
	return p.pingThrough(cmd.Context(), cfg, g, o, id)
}

// pingThrough connects and sends the probes.
func (p *program) pingThrough(ctx context.Context, cfg peer.Config, g *progress, o pingOptions, id proto.ID) error {
	connecting, cancel := g.limit(ctx, o.timeout)
	defer cancel()
	node, err := startNode(connecting, cfg, g)
	if node != nil {
		defer node.Close()
	}
	if err != nil {
		return err
	}
	session, err := node.Connect(connecting, id)
	if err != nil {
		return interrupted(connecting, err)
	}
	p.screen.status("")
	return p.probes(ctx, session, o)
}

// probes sends one probe after the other.
func (p *program) probes(ctx context.Context, s *peer.Session, o pingOptions) error {
	last := o.count
	if last == 0 {
		last = math.MaxInt
	}
	ticker := time.NewTicker(o.interval)
	defer ticker.Stop()
	for seq := 1; ; seq++ {
		path, err := p.probe(ctx, s, seq, o.timeout)
		if err != nil || seq == last || o.untilDirect && path == peer.Direct {
			return err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// probe sends one probe and prints its answer.
func (p *program) probe(ctx context.Context, s *peer.Session, seq int, timeout time.Duration) (peer.PathKind, error) {
	waiting := &timeoutError{timeout, fmt.Sprintf("waiting for peer %s to answer a probe", s.Peer())}
	ctx, cancel := context.WithTimeoutCause(ctx, timeout, waiting)
	defer cancel()
	rtt, err := s.Ping(ctx)
	if err != nil {
		return "", interrupted(ctx, fmt.Errorf("the connection to peer %s is lost: %w; ping again", s.Peer(), err))
	}
	path := s.Path()
	ms := float64(rtt.Microseconds()) / 1e3
	if p.json {
		return path.Kind, p.printJSON(pingAnswer{s.Peer().String(), seq, string(path.Kind), path.Remote.String(), ms})
	}
	return path.Kind, p.println(fmt.Sprintf("%s %s time=%.1fms", path.Kind, path.Remote, ms))
}
