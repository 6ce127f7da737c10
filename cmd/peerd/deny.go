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

A peer that has no line there is an error, with exit code 1 (2 for a name that no
peer has), and so is one that may still connect afterwards because the setting
allow names it, too.`,
		Example: "  peerd deny trip",
		Args:    cobra.ExactArgs(1),
		RunE:    p.begin(func(cmd *cobra.Command, args []string) error { return p.deny(cmd, args[0]) }),
	}
}

func (p *program) deny(cmd *cobra.Command, text string) error {
	id, err := p.parsePeer(cmd, text)
	if err != nil {
		return err
	}
	removed := false
	path, err := p.editAuthorized(func(f *authorized.File) error {
		removed = f.Remove(id)
		return nil
	})
	if err != nil {
		return err
	}
	allowed := p.settings.list(cmd, "allow")
	ids, err := p.parseAllowed(allowed, p.settings.origin("allow"))
	switch {
	case err != nil:
		return &usageError{cmd, err.Error()}
	case removed:
		err = p.println(fmt.Sprintf("%s: removed: %s", path, id))
	case !slices.Contains(ids, id):
		err = fmt.Errorf("peer %s is not in %s, so there is nothing to deny", text, path)
	}
	if err == nil && slices.Contains(ids, id) {
		return fmt.Errorf("peer %s may still connect: %s names it; remove it there", text, p.settings.origin("allow"))
	}
	return err
}
