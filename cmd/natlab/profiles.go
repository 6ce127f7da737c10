package main

import (
	"fmt"
	"io"
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
APDM address-and-port-dependent. Filtering: EIF is endpoint-independent, APDF
address-and-port-dependent. What follows is the answer to unsolicited packets.`,
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
	return t.Flush()
}

// realm says who does the translation.
func realm(p natlab.Profile) string {
	switch {
	case p.Kernel:
		return "kernel"
	case p.NAT != nil:
		return "userspace"
	}
	return "-"
}
