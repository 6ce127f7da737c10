package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/peer/tunnel"
	"github.com/peerd/peerd/proto"
)

// connectOptions are the flags of connect.
type connectOptions struct {
	local, remote, dynamic []string
	stdio                  []string // once
	localPort              uint16
	timeout                time.Duration
	record                 string // file, or ""
}

func (p *program) connectCommand() *cobra.Command {
	var o connectOptions
	cmd := &cobra.Command{
		Use:   "connect PEER",
		Short: "Forward ports to and from a peer",
		Long: `Connect to a peer and stay connected, with ssh's options for what to forward.
Each but -W may be given several times.

  -L [BIND:]PORT:TARGET   a port here leads to a target of the peer
  -R [BIND:]PORT:TARGET   a port of the peer leads to a target here, if the peer
                          permits that (permit-listen)
  -D [BIND:]PORT          a SOCKS5 proxy here; the peer looks names up and must
                          permit the addresses (permit-open)
  -W TARGET               standard input and output lead to a target of the
                          peer, as with nc; when they end, so does the command

TARGET is a port number, which is one of the loopback there, HOST:PORT, a name
that the peer has given to a target, unix:/path or just /path.

BIND is the address to listen at. Without it that is the loopback alone; if it
is * or empty, all interfaces. PORT 0 is any free port. A path in their place is
that of a unix socket, for this user only; it is removed at the end. What exists
there is an error, but for a socket of this user's that a program which is gone
has left behind: that is replaced, here and on the peer, where the system lets it
be told from one that is busy. \ before a colon makes that part of the path.

Standard error gets a line for each forward as soon as it works, and one each
time when the path to the peer is another one; -q silences both:

  path direct 198.51.100.9:40122 31ms
  forward 127.0.0.1:2222 -> pek5… 22
  forward pek5… 127.0.0.1:8080 -> 3000
  forward 127.0.0.1:1080 -> pek5… socks5

A forward that cannot be set up at the start is an error: exit code 7 if the peer
does not permit an -R, 9 if it cannot listen there, or refuses the target of -W or
cannot reach it. When the connection is
lost later, the command connects again, and connections that come in meanwhile
wait. While it runs it answers that peer, which may thus just as well connect to
this one; what the peer may then open is what it is authorised for here.

A connection that is cut off, or that the peer refuses, is reset; only through a
unix socket, which knows no reset, that looks like its end. The command ends
with SIGINT (exit code 130), SIGTERM (143) or SIGHUP (129; nohup keeps it).`,
		Example: `  peerd connect pek5… -L 2222:22 -L 8080:web
  peerd connect pek5… -L 0:db.lan:5432 -L /tmp/docker.sock:/run/docker.sock
  peerd connect pek5… -R 8080:3000 -D 1080`,
		Args: takes("PEER"),
		RunE: p.begin(func(cmd *cobra.Command, args []string) error { return p.connect(cmd, o, args[0]) }),
	}
	f := cmd.Flags()
	f.StringArrayVarP(&o.local, "local-forward", "L", nil, "forward a port, `[BIND:]PORT:TARGET`, to a target of the peer")
	f.StringArrayVarP(&o.remote, "remote-forward", "R", nil, "forward a port of the peer, `[BIND:]PORT:TARGET`, to a target here")
	f.StringArrayVarP(&o.dynamic, "dynamic-forward", "D", nil, "be a SOCKS5 proxy at `[BIND:]PORT` that leads to the peer")
	f.StringArrayVarP(&o.stdio, "stdio-forward", "W", nil, "join standard input and output to a `TARGET` of the peer")
	once(f, "local-forward", "remote-forward", "dynamic-forward", "stdio-forward")
	f.VisitAll(func(flag *pflag.Flag) { cmd.RegisterFlagCompletionFunc(flag.Name, cobra.NoFileCompletions) })
	f.Uint16Var(&o.localPort, "local-port", 0, "local TCP `PORT` for the peer and the server (default a free one)")
	portModeFlag(cmd)
	noGuessFlag(cmd)
	f.DurationVar(&o.timeout, "timeout", 30*time.Second, "wait up to `LIMIT` for a peer that is offline, and for the connection; later, too, connections that come in wait this long for it")
	f.StringVar(&o.record, "record", "", "write to a new `FILE` what both sides knew of each other, what was tried and what came of it, to look at or for \"natlab replay\" (docs/json.md); it has addresses, but no keys")
	once(f, "record")
	return cmd
}

// forwards are what connect forwards.
type forwards struct {
	local, remote, dynamic []tunnel.Forward
	stdio                  string // TARGET, or ""
}

// parse parses the options' forwards.
func (o connectOptions) parse() (f forwards, err error) {
	for _, option := range []struct {
		letter string
		values []string
		parse  func(string) (tunnel.Forward, error)
		to     *[]tunnel.Forward
	}{
		{"-L", o.local, tunnel.ParseLocal, &f.local},
		{"-R", o.remote, tunnel.ParseRemote, &f.remote},
		{"-D", o.dynamic, tunnel.ParseDynamic, &f.dynamic},
	} {
		for _, value := range option.values {
			fwd, err := option.parse(value)
			if err != nil {
				return f, fmt.Errorf("%s %s: %w", option.letter, value, err)
			}
			*option.to = append(*option.to, fwd)
		}
	}
	switch len(o.stdio) {
	case 0:
		return f, nil
	case 1:
		if f.stdio, err = tunnel.ParseTarget(o.stdio[0]); err != nil {
			return f, fmt.Errorf("-W %s: %w", o.stdio[0], err)
		}
		return f, nil
	}
	return f, errors.New("-W is there more than once: there is one standard input")
}

func (p *program) connect(cmd *cobra.Command, o connectOptions, peerText string) error {
	id, err := p.parsePeer(cmd, peerText)
	if err != nil {
		return err
	}
	f, err := o.parse()
	if err != nil {
		return &usageError{cmd, err.Error()}
	}
	if o.timeout <= 0 {
		return &usageError{cmd, p.settings.origin("timeout") + " is a time above zero"}
	}
	log := p.logger(slog.LevelInfo)
	cfg, err := p.nodeConfig(cmd, log)
	if err != nil {
		return err
	}
	if _, err := p.share(cmd, &cfg); err != nil {
		return err
	}
	g := p.progressTo(id, log, true)
	g.announced = true
	cfg.LocalPort, cfg.Events = o.localPort, g.event
	c := &connection{program: p, name: peerText, log: log}
	if o.record == "" {
		return c.run(cmd.Context(), cfg, g, o.timeout, id, f)
	}
	r, err := newRecorder(o.record, cfg.Agent, id)
	if err != nil {
		return err
	}
	cfg.Events = func(e peer.Event) { r.event(e); g.event(e) }
	return r.end(c.run(cmd.Context(), cfg, g, o.timeout, id, f), p)
}

// startLink starts a node and connects it to the peer.
func startLink(ctx, connecting context.Context, cfg peer.Config, g *progress, id proto.ID, patient time.Duration) (*link, *peer.Session, error) {
	node, err := startNode(connecting, cfg, g)
	l := newLink(node, id, patient, cfg.Logger)
	if err != nil {
		return l, nil, err
	}
	s, err := l.connect(connecting)
	// That the time is up says less than why it was needed.
	if err != nil && (ctx.Err() != nil || !errors.Is(err, peer.ErrOffline)) {
		err = interrupted(connecting, err)
	}
	return l, s, err
}

// entry is a listener of a local or a dynamic forward.
type entry struct {
	net.Listener
	forward tunnel.Forward
}

// openEntries listens for the local and the dynamic forwards.
func openEntries(ctx context.Context, f forwards) (entries []entry, err error) {
	for _, list := range [][]tunnel.Forward{f.local, f.dynamic} {
		for _, fwd := range list {
			l, err := fwd.Listen.Listen(ctx)
			switch {
			case err != nil && fwd.Listen.Path != "":
				return entries, err // says what to do
			case err != nil:
				return entries, fmt.Errorf("%w; choose another port, or 0 for any free one", err)
			}
			entries = append(entries, entry{l, fwd})
		}
	}
	return entries, nil
}

func closeEntries(entries []entry) {
	for _, e := range entries {
		e.Close()
	}
}
