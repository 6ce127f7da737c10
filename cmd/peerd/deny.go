package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/peerd/peerd/cmd/peerd/authorized"
)

func (p *program) denyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "deny PEER",
		Short: "Do not let a peer connect to this machine any more",
		Long: `Do not let a peer connect to this machine any more: remove its line from
authorized_peers. A daemon that runs refuses it from then on; streams that are
open stay open until they end, or the daemon does.

A peer that has no line there is an error, with exit code 1 (5 for a name that no
peer has), and so is one that may still connect afterwards because the setting
allow names it, too. Lines that are wrong are in nobody's way here: they grant
nothing, are left as they are, and a warning names each.`,
		Example: "  peerd deny trip",
		Args:    takes("PEER"),
		RunE:    p.begin(func(cmd *cobra.Command, args []string) error { return p.deny(cmd, args[0]) }),
	}
}

func (p *program) deny(cmd *cobra.Command, text string) error {
	id, err := p.parsePeer(cmd, text)
	if err != nil {
		return err
	}
	// Before the line goes: a name in allow may be known from there alone.
	ids, wrong := p.parseAllowed(p.settings.list(cmd, "allow"), p.settings.origin("allow"))
	allowed := slices.Contains(ids, id)
	path, err := p.settings.beside(authorizedName)
	if err != nil {
		return err
	}
	removed, kept, err := authorized.Revoke(path, id)
	if err != nil {
		return err
	}
	for _, bad := range kept {
		p.warn(fmt.Sprintf("%v; this line is left as it is, and grants nothing", bad))
	}
	if wrong != nil {
		p.warn(fmt.Sprintf("%v; remove it there", wrong))
	}
	if removed {
		err = p.println(fmt.Sprintf("%s: removed: %s", path, id))
	}
	switch {
	case err != nil:
		return err
	case allowed:
		err = fmt.Errorf("peer %s may still connect: %s names it; remove it there", text, p.settings.origin("allow"))
		if !removed {
			err = fmt.Errorf("%w (%s has no line of it)", err, path)
		}
		return err
	case !removed:
		return fmt.Errorf("peer %s is not in %s, so there is nothing to deny", text, path)
	}
	return nil
}
