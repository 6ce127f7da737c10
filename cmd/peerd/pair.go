package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/peerd/peerd/cmd/peerd/authorized"
	"github.com/peerd/peerd/cmd/peerd/ownfile"
	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
)

// ticketValid is how long a ticket is valid at most.
const ticketValid = 10 * time.Minute

// pairOptions are the flags of pair.
type pairOptions struct {
	name    string
	valid   time.Duration
	timeout time.Duration
}

func (p *program) pairCommand() *cobra.Command {
	var o pairOptions
	cmd := &cobra.Command{
		Use:   "pair [-]",
		Short: "Let two machines get to know each other",
		Long: `Let two machines get to know each other, with one line that is carried from one to
the other. On the first one, "peerd pair" prints a ticket (and a QR code of it on
a terminal) and waits. On the other one, "peerd pair -" reads it from standard
input, or "peerd pair" from the variable PEERD_TICKET. It is not taken from the
command line, which every user of a machine can read.

Then each machine has the other one in its authorized_peers, where it may open
every target that is exposed; "peerd allow" narrows that. Each calls the other by
its host name, or by --name. A daemon that runs need not be restarted. The second
machine also learns the server: if it has no configuration file, one is written.

A ticket works once, within 10 minutes. Whoever has it first is let in: carry it
as you would a password. Interrupting the first command makes it void.

Exit codes, besides the general ones: 5 if nobody waits with this ticket (it may
have been used, be too old, or have been made void), 7 if the machine that made it
is there but takes it no more, 124 if nobody came, or if joining takes too long.`,
		Example: `  home$  peerd pair
  trip$  peerd pair -`,
		Args: cobra.ArbitraryArgs,
		RunE: p.begin(func(cmd *cobra.Command, args []string) error { return p.pair(cmd, o, args) }),
	}
	f := cmd.Flags()
	f.StringVar(&o.name, "name", "", "`NAME` to call the other machine by (default its host name)")
	f.DurationVar(&o.valid, "valid", ticketValid, "make the ticket void after `LIMIT`, at most 10m")
	f.DurationVar(&o.timeout, "timeout", 30*time.Second, "exit with 124 if registering, or joining, takes longer than `LIMIT`")
	once(f, "name", "valid")
	portModeFlag(cmd)
	return cmd
}

func (p *program) pair(cmd *cobra.Command, o pairOptions, args []string) error {
	if err := p.checkPair(o, args); err != nil {
		return &usageError{cmd, err.Error()}
	}
	text := os.Getenv("PEERD_TICKET")
	switch {
	case len(args) == 1:
		var err error
		if text, err = p.readTicket(cmd.Context()); err != nil {
			return err
		}
	case text == "":
		return p.createTicket(cmd, o)
	}
	ticket, err := proto.ParseTicket(strings.TrimSpace(text))
	if err != nil {
		return &usageError{cmd, err.Error()}
	}
	return p.useTicket(cmd, o, ticket)
}

func (p *program) checkPair(o pairOptions, args []string) error {
	switch {
	case len(args) > 1 || len(args) == 1 && args[0] != "-":
		return errors.New(`a ticket on the command line can be read by every user of this machine: give it to "peerd pair -" on standard input, or in PEERD_TICKET`)
	case o.valid <= 0 || o.valid > ticketValid:
		return fmt.Errorf("--valid is a time above zero, and at most %v", ticketValid)
	case o.timeout <= 0:
		return errors.New(p.settings.origin("timeout") + " is a time above zero")
	case o.name == "":
		return nil
	}
	if err := authorized.CheckName(o.name); err != nil {
		return fmt.Errorf("--name %q: %w", o.name, err)
	}
	return nil
}

// readTicket reads one line of standard input.
func (p *program) readTicket(ctx context.Context) (string, error) {
	if term.IsTerminal(int(p.stdin.Fd())) {
		fmt.Fprint(p.screen, "ticket: ")
	}
	type line struct {
		text string
		err  error
	}
	read := make(chan line, 1)
	go func() { // cannot be interrupted; the program ends before it
		text, err := readLine(p.stdin)
		read <- line{text, err}
	}()
	select {
	case l := <-read:
		return l.text, l.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// readLine reads up to a line end, and not a byte more.
func readLine(r io.Reader) (string, error) {
	var text []byte
	for b := make([]byte, 1); len(text) <= 2*proto.MaxTicket; {
		n, err := r.Read(b)
		switch {
		case n == 1 && b[0] == '\n', err == io.EOF:
			return string(text), nil
		case err != nil:
			return "", &inputError{withoutPath(err)}
		}
		text = append(text, b[:n]...)
	}
	return string(text), nil
}

// codedError is an error that knows its exit code.
type codedError struct {
	code int
	text string
}

// Error implements error.
func (e *codedError) Error() string { return e.text }

// useTicket pairs with the ticket's creator.
func (p *program) useTicket(cmd *cobra.Command, o pairOptions, t proto.Ticket) error {
	log := p.logger(slog.LevelWarn)
	key, err := p.key(peerKeyFile, log)
	switch {
	case err != nil:
		return err
	case key.ID() == t.Creator:
		return &usageError{cmd, "this ticket was made on this machine: use it on the other one"}
	}
	p.names.server, p.names.self, p.names.peer = t.Server.HostPort(), key.ID(), t.Creator
	p.names.origin = "the ticket"
	if err := p.nameMayBe(cmd, o.name, t.Creator); err != nil {
		return err
	}
	if err := p.canStore(); err != nil {
		return err
	}
	g := p.progressTo(t.Creator, log, true)
	cfg := peer.Config{Key: identity.FromSeed(t.KeySeed()), Server: t.Server, Agent: "peerd/" + version, Events: g.event, Logger: log}
	stored, err := p.visitCreator(cmd.Context(), cfg, g, o, t, key)
	p.screen.status("")
	if err != nil {
		return joinFailed(err)
	}
	if err := p.println(fmt.Sprintf("paired with %s", stored)); err != nil {
		return err
	}
	return p.rememberServer(t.Server)
}

// visitCreator connects and carries out the exchange.
func (p *program) visitCreator(ctx context.Context, cfg peer.Config, g *progress, o pairOptions, t proto.Ticket, key *identity.Key) (fmt.Stringer, error) {
	joining, cancel := g.limit(ctx, o.timeout)
	defer cancel()
	node, err := startNode(joining, cfg, g)
	if node != nil {
		defer node.Close()
	}
	if err != nil {
		return nil, err
	}
	s, err := node.Dial(joining, t.Creator, proto.ServicePair)
	if err != nil {
		return nil, interrupted(joining, err)
	}
	stop := context.AfterFunc(joining, s.Abort)
	defer stop()
	stored, err := visit(s, t, key, hostName(), p.storing(o.name))
	if err != nil {
		return nil, interrupted(joining, err)
	}
	if err := s.Drain(joining); err != nil { // both have confirmed before
		cfg.Logger.Debug("the end of the exchange was not seen there", "err", err)
	}
	return stored, nil
}

// joinFailed says what the failure of a pairing means to who has the ticket.
func joinFailed(err error) error {
	const renew = `make a new one with "peerd pair" on the other machine`
	var (
		refused *refusedPairing
		target  *peer.RefusedError
	)
	switch {
	case errors.As(err, &refused) && refused.code == proto.CodeRefused, errors.Is(err, peer.ErrNotAuthorised),
		errors.As(err, &target):
		return &codedError{exitNotAuthorised, "the ticket has been used or is too old; " + renew}
	case errors.Is(err, peer.ErrOffline):
		return &codedError{exitOffline, `nobody waits with this ticket: it has been used, is too old, or "peerd pair" was stopped there; ` + renew}
	case errors.As(err, &refused), errors.Is(err, peer.ErrAborted), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return &codedError{exitOther, fmt.Sprintf("not paired, and nothing is stored here: %v; see what the other machine says, and %s", err, renew)}
	}
	return err
}

// nameMayBe checks a name that was asked for; "" is none.
func (p *program) nameMayBe(cmd *cobra.Command, name string, id proto.ID) error {
	if name == "" {
		return nil
	}
	if err := p.nameIsFree(name, id); err != nil {
		return &usageError{cmd, fmt.Sprintf("--name %q: %v", name, err)}
	}
	return nil
}

// hostName returns what this machine suggests to be called.
func hostName() string {
	name, _ := os.Hostname()
	return name
}

// storing returns what stores a peer in authorized_peers, under the name given or
// else the one that it suggests.
func (p *program) storing(name string) storing {
	return func(id proto.ID, suggested string) (fmt.Stringer, func() error, error) {
		var old, fresh authorized.Peer
		existed := false
		_, err := p.editAuthorized(func(f *authorized.File) error {
			old, existed = f.Peer(id)
			fresh = old
			fresh.ID = id
			fresh.Name = p.nameFor(id, name, suggested, old.Name)
			f.Set(fresh)
			return nil
		})
		undo := func() error {
			_, err := p.editAuthorized(func(f *authorized.File) error {
				if existed {
					f.Set(old)
				} else {
					f.Remove(id)
				}
				return nil
			})
			return err
		}
		return acquaintance(fresh), undo, err
	}
}

// acquaintance is a peer that was paired with.
type acquaintance authorized.Peer

// String names the peer and what the pairing means.
func (a acquaintance) String() string { return describe(authorized.Peer(a)) }

// nameFor returns the name for a peer: the one that was asked for, that it has, or
// that it suggests, which gets a number if it is taken.
func (p *program) nameFor(id proto.ID, asked, suggested, has string) string {
	if asked == "" && has == "" {
		has = p.nameOf(id)
	}
	if asked == "" && has != "" {
		return has
	}
	base := asked
	if base == "" {
		base = authorized.NameFrom(suggested, id)
	}
	name := base
	for n := 2; p.nameIsFree(name, id) != nil; n++ {
		name = fmt.Sprintf("%s-%d", base, n)
	}
	return name
}

// rememberServer writes the server to a new configuration file, or says what an
// existing one lacks.
func (p *program) rememberServer(server proto.ServerURL) error {
	line := fmt.Sprintf("server = %q", server.String())
	path, has := p.settings.path, p.settings.file.values["server"]
	switch {
	case path == "":
		fmt.Fprintf(p.screen, "peerd: there is no place for a configuration file; set PEERD_SERVER to %s\n", server)
	case !p.settings.exists:
		if err := ownfile.Create(path, []byte(line+"\n")); err != nil {
			return fmt.Errorf("paired, but the server was not written to %s: %w; write it yourself: %s", path, err, line)
		}
		fmt.Fprintf(p.screen, "peerd: wrote the server to %s\n", path)
	case has.list == nil:
		fmt.Fprintf(p.screen, "peerd: add this line at the top of %s: %s\n", path, line)
	case has.list[0] != server.String():
		fmt.Fprintf(p.screen, "peerd: %s:%d names another server, where the other machine is not; for it you need: %s\n", path, has.line, line)
	}
	return nil
}
