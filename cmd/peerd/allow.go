package main

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peerd/peerd/cmd/peerd/authorized"
	"github.com/peerd/peerd/proto"
)

// allowOptions are the flags of allow; nil is one that was not given.
type allowOptions struct {
	name         string
	open, listen []string
}

func (p *program) allowCommand() *cobra.Command {
	var name, open, listen string
	cmd := &cobra.Command{
		Use:   "allow PEER",
		Short: "Let a peer connect to this machine",
		Long: `Let a peer connect to this machine: write its line in authorized_peers, or change
the line that it has. A daemon that runs goes by the new line at once, and
connections that exist stay.

Without --permit-open the peer may open every target that is exposed, and
nothing else; with it exactly what the list names, whether exposed or not:

  NAME or PORT         a target that is exposed by that name, a port of loopback
  HOST:PORT, HOST:*    a host, by that very name
  10.0.0.0/8:80        addresses of a network
  *:443, *             any address but loopback, link-local and the like
  unix:/PATH           a unix socket

With --permit-listen the peer may have this machine listen for it (connect -R):

  PORT, *              on loopback
  HOST:PORT, *:PORT    on that address, on any
  unix:/PATH           a unix socket

An empty list ('') permits nothing. What is not given stays as it is. The file is
beside config.toml; others than its owner must not be able to write it. Its lines
have the form [permit-open="…"[,permit-listen="…"]] ID [name] [# comment].`,
		Example: `  peerd allow pek5… --name trip
  peerd allow trip --permit-open 22,web --permit-listen 8080`,
		Args: takes("PEER"),
	}
	f := cmd.Flags()
	f.StringVar(&name, "name", "", "`NAME` to call the peer by")
	f.StringVar(&open, "permit-open", "", "`LIST` of what it may open, with commas (default every target that is exposed)")
	f.StringVar(&listen, "permit-listen", "", "`LIST` of where it may have this machine listen, with commas (default nowhere)")
	once(f, "name", "permit-open", "permit-listen")
	cmd.RunE = p.begin(func(cmd *cobra.Command, args []string) error {
		o, err := parseAllow(cmd, name, open, listen)
		if err != nil {
			return &usageError{cmd, err.Error()}
		}
		return p.allow(cmd, args[0], o)
	})
	return cmd
}

func parseAllow(cmd *cobra.Command, name, open, listen string) (o allowOptions, err error) {
	given := cmd.Flags().Changed
	if given("name") {
		if err := authorized.CheckName(name); err != nil {
			return o, fmt.Errorf("--name %q: %w", name, err)
		}
		o.name = name
	}
	if given("permit-open") {
		if o.open, err = authorized.ParseOpen(open); err != nil {
			return o, fmt.Errorf("--permit-open: %w", err)
		}
	}
	if given("permit-listen") {
		if o.listen, err = authorized.ParseListen(listen); err != nil {
			return o, fmt.Errorf("--permit-listen: %w", err)
		}
	}
	return o, nil
}

func (p *program) allow(cmd *cobra.Command, text string, o allowOptions) error {
	id, err := p.parsePeer(cmd, text)
	if err != nil {
		return err
	}
	if o.name != "" {
		if err := p.nameIsFree(o.name, id); err != nil {
			return &usageError{cmd, fmt.Sprintf("--name %q: %v", o.name, err)}
		}
	}
	var did string
	path, err := p.editAuthorized(func(f *authorized.File) error {
		did = o.applyTo(f, id)
		return nil
	})
	if err != nil {
		return err
	}
	return p.println(fmt.Sprintf("%s: %s", path, did))
}

// applyTo changes the line of a peer and says what that did.
func (o allowOptions) applyTo(f *authorized.File, id proto.ID) string {
	old, exists := f.Peer(id)
	fresh := old
	fresh.ID = id
	if o.name != "" {
		fresh.Name = o.name
	}
	if o.open != nil {
		fresh.Open = o.open
	}
	if o.listen != nil {
		fresh.Listen = o.listen
	}
	did := "added"
	switch {
	case exists && reflect.DeepEqual(old, fresh):
		return "unchanged: " + describe(fresh)
	case exists:
		did = "updated"
	}
	f.Set(fresh)
	return did + ": " + describe(fresh)
}

// describe says what a line grants.
func describe(l authorized.Peer) string {
	who := l.ID.String()
	if l.Name != "" {
		who = fmt.Sprintf("%s (%s)", l.Name, who)
	}
	may := "every target that is exposed"
	if l.Open != nil {
		may = listed(l.Open)
	}
	return fmt.Sprintf("%s may open %s, and listen on %s", who, may, listed(l.Listen))
}

// nameIsFree returns an error if another peer has a name.
func (p *program) nameIsFree(name string, id proto.ID) error {
	names, _ := p.petnames()
	for _, n := range names {
		if n.id != id && strings.EqualFold(n.name, name) {
			return fmt.Errorf("peer %s has that name in %s; choose another", n.id, n.place)
		}
	}
	return nil
}

// editAuthorized changes authorized_peers and returns its path.
func (p *program) editAuthorized(change func(*authorized.File) error) (path string, err error) {
	if path, err = p.settings.beside(authorizedName); err != nil {
		return "", err
	}
	return path, rightFirst(authorized.Edit(path, change))
}

// canStore returns an error if editAuthorized would fail.
func (p *program) canStore() error {
	path, err := p.settings.beside(authorizedName)
	if err != nil {
		return err
	}
	return rightFirst(authorized.CanEdit(path))
}

// rightFirst says what to do about a bad line.
func rightFirst(err error) error {
	var bad *authorized.LineError
	if errors.As(err, &bad) {
		return fmt.Errorf("%w; put that right first", err)
	}
	return err
}
