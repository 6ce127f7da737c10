package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/peer/tunnel"
	"github.com/peerd/peerd/proto"
)

// connectOptions are the flags of connect.
type connectOptions struct {
	local     []string
	localPort uint16
	timeout   time.Duration
}

func (p *program) connectCommand() *cobra.Command {
	var o connectOptions
	cmd := &cobra.Command{
		Use:   "connect PEER",
		Short: "Forward ports to a peer",
		Long: `Connect to a peer and stay connected, with ssh's options for what to forward.

TARGET is what the peer exposes: a port number, that is a port of its loopback,
or HOST:PORT, a name, unix:/path or just /path. Where the place to listen is a
port alone, it is one of the loopback; with *: before it, or only the colon, it
is one of all interfaces. In its place a path makes a unix socket, for this user
only.

Standard error gets a line for each forward once it works, and a line whenever
the path to the peer changes:

  path direct 198.51.100.9:40122 31ms
  forward 127.0.0.1:2222 -> pek5… 22

The command ends with SIGINT or SIGTERM.`,
		Example: `  peerd connect pek5… -L 2222:22 -L 8080:web
  peerd connect pek5… -L 0:db.lan:5432 -L /tmp/docker.sock:/run/docker.sock`,
		Args: cobra.ExactArgs(1),
		RunE: p.begin(func(cmd *cobra.Command, args []string) error { return p.connect(cmd, o, args[0]) }),
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.local, "local-forward", "L", nil, "`[BIND:]PORT:TARGET`: forward a port, 0 for any free one, to a target of the peer; may be repeated")
	f.Uint16Var(&o.localPort, "local-port", 0, "local TCP `PORT` for the peer and the server (default a free one)")
	f.DurationVar(&o.timeout, "timeout", 30*time.Second, "give up if the connection is not there within `LIMIT`")
	return cmd
}

func (p *program) connect(cmd *cobra.Command, o connectOptions, peerText string) error {
	id, err := p.parsePeer(cmd, peerText)
	if err != nil {
		return err
	}
	var forwards []tunnel.Forward
	for _, text := range o.local {
		fwd, err := tunnel.ParseLocal(text)
		if err != nil {
			return &usageError{cmd, fmt.Sprintf("-L %s: %v", text, err)}
		}
		forwards = append(forwards, fwd)
	}
	if o.timeout <= 0 {
		return &usageError{cmd, "--timeout is a time above zero"}
	}
	log := p.logger(slog.LevelInfo)
	cfg, err := p.nodeConfig(cmd, log)
	if err != nil {
		return err
	}
	g := p.progressTo(id, log, true)
	cfg.LocalPort, cfg.Events = o.localPort, g.event
	return p.connectThrough(cmd.Context(), cfg, g, o.timeout, id, peerText, forwards)
}

// connectThrough connects and serves the forwards.
func (p *program) connectThrough(ctx context.Context, cfg peer.Config, g *progress, timeout time.Duration, id proto.ID, name string, forwards []tunnel.Forward) error {
	listeners, err := listenForwards(ctx, forwards)
	defer closeForwards(listeners)
	if err != nil {
		return err
	}
	connecting, cancel := g.limit(ctx, timeout)
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
	path := session.Path()
	fmt.Fprintf(p.screen, "path %s %s %dms\n", path.Kind, path.Remote, path.RTT.Milliseconds())
	var entries sync.WaitGroup
	defer entries.Wait()
	for i, fwd := range forwards {
		fmt.Fprintf(p.screen, "forward %s -> %s %s\n", listeners[i].Addr(), name, fwd.Target)
		entries.Go(func() { p.serveLocal(ctx, node, id, cfg.Logger, listeners[i], fwd.Target) })
	}
	<-ctx.Done()
	return context.Cause(ctx)
}

func (p *program) serveLocal(ctx context.Context, node *peer.Node, id proto.ID, log *slog.Logger, l net.Listener, target string) {
	e := tunnel.Entry{Log: log, Handle: func(ctx context.Context, conn net.Conn) {
		app := tunnel.NewSocket(conn)
		s, err := node.Dial(ctx, id, target)
		if err != nil {
			app.Abort()
			log.Warn("connection not forwarded", "target", target, "err", err)
			return
		}
		stop := context.AfterFunc(ctx, func() { app.Abort(); s.Abort() })
		defer stop()
		log.Debug("connection ended", "target", target, "err", tunnel.Join(app, s))
	}}
	e.Serve(ctx, l)
}

// listenForwards opens the listeners of forwards.
func listenForwards(ctx context.Context, forwards []tunnel.Forward) (listeners []net.Listener, err error) {
	for _, fwd := range forwards {
		l, err := fwd.Listen.Listen(ctx)
		if err != nil {
			return listeners, err
		}
		listeners = append(listeners, l)
	}
	return listeners, nil
}

func closeForwards(listeners []net.Listener) {
	for _, l := range listeners {
		l.Close()
	}
}
