package main

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/peerd/peerd/proto"
)

// peerAnswer is a line of "peers", and an element of what "peers --json" prints.
type peerAnswer struct {
	Name         string   `json:"name"`          // "" if it has none
	ID           string   `json:"id"`            //
	Authorized   bool     `json:"authorized"`    // it may connect to this machine
	PermitOpen   []string `json:"permit_open"`   // null: every target that is exposed, if it is authorised
	PermitListen []string `json:"permit_listen"` // never null
	From         []string `json:"from"`          // where it stands: FILE:LINE or what set it
}

func (p *program) peersCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "peers",
		Short: "List the peers that this machine knows",
		Long: `List the peers that the settings and authorized_peers name: what people call
them, what each may open on this machine and where it may listen, and where that
is written. "exposed" means every target that is exposed, and "-" nothing.

If a line of authorized_peers is wrong, or the setting allow has a name that no
peer has, all others are listed, and the command exits with 1.

With --json, one list: [{"name", "id", "authorized", "permit_open",
"permit_listen", "from"}]. permit_open is null where it is every target that is
exposed.`,
		Example: "  peerd peers",
		Args:    takes(),
		RunE:    p.begin(func(cmd *cobra.Command, _ []string) error { return p.peers(cmd) }),
	}
}

func (p *program) peers(cmd *cobra.Command) error {
	answers, wrong := p.knownPeers(cmd)
	if err := p.printPeers(answers); err != nil {
		return err
	}
	return wrong
}

// knownPeers returns one answer for each peer, sorted by name and ID, and what is
// wrong with authorized_peers and with allow.
func (p *program) knownPeers(cmd *cobra.Command) ([]peerAnswer, error) {
	known := make(map[proto.ID]*peerAnswer)
	of := func(id proto.ID, from string) *peerAnswer {
		if known[id] == nil {
			known[id] = &peerAnswer{ID: id.String(), PermitOpen: []string{}, PermitListen: []string{}}
		}
		known[id].From = append(known[id].From, from)
		return known[id]
	}
	for _, n := range p.settings.file.peers {
		a := of(n.id, n.place)
		a.Name = cmp.Or(a.Name, n.name)
	}
	f, path, err := p.readAuthorized()
	if err != nil {
		return nil, err
	}
	for _, e := range f.Entries() {
		a := of(e.ID, fmt.Sprintf("%s:%d", path, e.Line))
		a.Name, a.Authorized, a.PermitOpen = cmp.Or(a.Name, e.Name), true, e.Open
		a.PermitListen = append(a.PermitListen, e.Listen...)
	}
	allowed := p.settings.list(cmd, "allow")
	ids, wrong := p.parseAllowed(allowed, p.settings.origin("allow"))
	for _, id := range ids { // adds to what a line grants
		a := of(id, p.settings.origin("allow"))
		a.Authorized, a.PermitOpen = true, nil
	}
	var list []peerAnswer
	for _, a := range known {
		list = append(list, *a)
	}
	slices.SortFunc(list, func(a, b peerAnswer) int {
		return cmp.Or(cmp.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)), cmp.Compare(a.ID, b.ID))
	})
	return list, errors.Join(f.Err(), wrong)
}

func (p *program) printPeers(answers []peerAnswer) error {
	if p.json {
		if answers == nil {
			answers = []peerAnswer{}
		}
		return p.printJSON(answers)
	}
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tID\tMAY OPEN\tMAY LISTEN\tFROM")
	for _, a := range answers {
		open := "exposed"
		if !a.Authorized || a.PermitOpen != nil {
			open = listed(a.PermitOpen)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", cmp.Or(a.Name, "-"), a.ID, open, listed(a.PermitListen), strings.Join(a.From, ", "))
	}
	w.Flush()
	return p.println(strings.TrimSuffix(text.String(), "\n"))
}

// listed returns a list for people.
func listed(patterns []string) string { return cmp.Or(strings.Join(patterns, ","), "-") }
