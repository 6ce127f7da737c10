package main

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/spf13/cobra"

	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/proto"
)

// runOptions are the flags of run.
type runOptions struct {
	localPort uint16
	stun      []string
}

func (p *program) runCommand() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "run",
		Short: "Run the peer daemon in the foreground",
		Long: `Run the peer daemon in the foreground. It stays registered with the server and
lets the peers that are allowed open the targets that are exposed, and nobody
anything else. Allowed are those of --allow and those in authorized_peers, which
"peerd pair" and "peerd allow" write and which is read whenever it has changed.

The only line on standard output is this machine's peer ID, as soon as it is
registered. When the server goes away the daemon stays and registers again; if
the server turns out to have another key than its URL says, it exits with 6.
Every change of state is a line in the log on standard error.

The daemon runs until SIGINT, SIGTERM or SIGHUP, and then exits with 0.

TARGET is a port number of this machine's loopback, HOST:PORT, unix:/path or just
/path, or a name with the ADDR that it stands for: one of these again.`,
		Example: `  peerd run --expose 22 --allow pek5…
  peerd run --expose web=192.168.1.10:80 --expose db=5432 --allow pek5… --allow pmwt…`,
		Args: takes(),
		RunE: p.begin(func(cmd *cobra.Command, _ []string) error { return p.runDaemon(cmd, o) }),
	}
	f := cmd.Flags()
	f.StringArray("expose", nil, "`TARGET[=ADDR]` that peers may open; may be repeated")
	f.StringArray("allow", nil, "`PEER` that may connect, by ID or by the name that it has at the start; may be repeated")
	f.Uint16Var(&o.localPort, "local-port", 0, "local TCP `PORT` for everything (default a free one)")
	stunFlag(cmd, &o.stun)
	portModeFlag(cmd)
	noGuessFlag(cmd)
	return cmd
}

func (p *program) runDaemon(cmd *cobra.Command, o runOptions) error {
	if err := p.checkSTUN(cmd, o.stun); err != nil {
		return err
	}
	log := p.logger(slog.LevelInfo)
	cfg, err := p.nodeConfig(cmd, log)
	if err != nil {
		return err
	}
	peers, err := p.share(cmd, &cfg)
	if err != nil {
		return err
	}
	if peers == 0 {
		log.Warn("nobody may connect: no --allow, and nobody in authorized_peers")
	}
	ctx, fail := context.WithCancelCause(cmd.Context())
	defer fail(nil)
	j := &journal{log: log, nameOf: p.nameOf, fail: fail}
	cfg.STUN = o.stun
	cfg.LocalPort, cfg.Answer, cfg.Persist = o.localPort, true, true
	cfg.Events = j.event
	return p.runNode(ctx, cfg)
}

// runNode runs a node until ctx ends. A signal is the way to end it, so that is
// no error.
func (p *program) runNode(ctx context.Context, cfg peer.Config) error {
	node, err := peer.New(cfg)
	if err != nil {
		return err
	}
	defer node.Close()
	err = node.Start(ctx)
	if err == nil {
		err = p.println(node.ID().String())
	}
	if err == nil {
		<-ctx.Done()
		err = ctx.Err()
	}
	err = interrupted(ctx, err)
	var stopped *signalError
	if errors.As(err, &stopped) {
		cfg.Logger.Info("shutting down", "reason", stopped)
		return nil
	}
	return err
}

// journal logs what happens to a daemon, one line for each change of its state.
type journal struct {
	log    *slog.Logger
	nameOf func(proto.ID) string   // what people call a peer, or ""
	fail   context.CancelCauseFunc // ends the daemon

	mu   sync.Mutex
	away bool // the last word about the registration was that there is none
}

// event follows the node's events.
func (j *journal) event(e peer.Event) {
	switch e.Kind {
	case peer.Claimed:
		logPort(j.log, e)
	case peer.Registered, peer.Unregistered:
		j.registration(e)
	case peer.Refused:
		j.about(e.Peer).Warn("refused a peer that is not allowed")
	case peer.Connected:
		j.about(e.Peer).Info("peer connected", "path", e.Path.Kind, "remote", e.Path.Remote)
	case peer.Disconnected:
		j.about(e.Peer).Info("peer disconnected", "reason", e.Err)
	case peer.ConnectFailed:
		j.about(e.Peer).Warn("no connection to a peer", "err", e.Err)
	case peer.Studied:
		j.log.Info("found out what the NATs do; see peerd doctor", "mapping", e.NAT.Mapping, "ports", e.NAT.Allocation, "filtering", e.NAT.Filtering)
	case peer.Punch:
		j.log.Debug("punch", "peer", e.Peer, "event", e.Punch.String())
	default:
		j.log.Debug(string(e.Kind), "peer", e.Peer)
	}
}

// about returns the log for what concerns a peer.
func (j *journal) about(id proto.ID) *slog.Logger {
	log := j.log.With("peer", id)
	if name := j.nameOf(id); name != "" {
		log = log.With("name", name)
	}
	return log
}

// registration logs the first failure; the attempts after it change nothing.
func (j *journal) registration(e peer.Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	level := slog.LevelWarn
	switch {
	case e.Kind == peer.Registered:
		j.away = false
		j.log.Info("registered", "observed", e.Observed)
		return
	case e.Permanent:
		j.fail(e.Err)
		return
	case j.away:
		level = slog.LevelDebug
	}
	j.away = true
	j.log.Log(context.Background(), level, "not registered, trying again", "err", e.Err, "retry", e.Retry)
}
