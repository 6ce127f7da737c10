package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/peerd/peerd/punch/natlab"
)

func newProfilesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "profiles",
		Short: "List the NATs that a host can be placed behind",
		Long: `List the NATs that a host can be placed behind: the kernel's own, and userspace ones.

The words are those of RFC 4787 and RFC 5382. Mapping: EIM is endpoint-independent,
APDM address-and-port-dependent. Filtering: EIF is endpoint-independent, ADF
address-dependent, APDF address-and-port-dependent. What follows is the answer to
unsolicited packets, where there is one. The kernel's own NATs are EIM preserving and
APDF; a SYN that crosses one's own is accepted unless something else is said.
A profile of both hosts is to be given for both.`,
		Example: "  natlab profiles",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return listProfiles(cmd.OutOrStdout()) },
	}
}

func listProfiles(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, p := range natlab.Profiles() {
		fmt.Fprintf(t, "%s\t%s\t%s\n", p.Name, realm(p), p.Doc)
	}
	aliases := natlab.Aliases()
	for _, old := range slices.Sorted(maps.Keys(aliases)) {
		fmt.Fprintf(t, "%s\t\tthe same as %s\n", old, aliases[old])
	}
	return t.Flush()
}

// realm says who does the translation, from the inside to the outside.
func realm(p natlab.Profile) string {
	if p.Outer != nil {
		outer := *p.Outer
		p.Outer = nil
		return realm(p) + ", " + realm(outer)
	}
	switch {
	case p.Kernel:
		return "kernel"
	case p.NAT != nil:
		return "userspace"
	}
	return "-"
}
