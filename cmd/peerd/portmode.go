package main

import (
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/punch/reuse"
)

// portMode is the value of --port-mode: a mode of the local port, or 0 for the best
// that works.
type portMode reuse.Mode

// autoMode is what leaves the choice to the node.
const autoMode = "auto"

// portModeType is the flag's type, for what a value has to be.
const portModeType = "port mode"

// String implements pflag.Value.
func (m *portMode) String() string {
	if *m == 0 {
		return autoMode
	}
	return reuse.Mode(*m).String()
}

// Set implements pflag.Value.
func (m *portMode) Set(s string) error {
	if s == autoMode {
		*m = 0
		return nil
	}
	mode, err := reuse.ParseMode(s)
	if err != nil {
		return fmt.Errorf("must be %s", wanted(portModeType))
	}
	*m = portMode(mode)
	return nil
}

// Type implements pflag.Value.
func (m *portMode) Type() string { return portModeType }

// portModeFlag adds --port-mode to a command that has a node.
func portModeFlag(cmd *cobra.Command) {
	cmd.Flags().Var(new(portMode), portModeName, "how the local port is used, `MODE`: shared, dial-only or sequential; auto is the first of them that works here, see \"peerd sockets\"")
	cmd.RegisterFlagCompletionFunc(portModeName, cobra.FixedCompletions([]string{
		autoMode + "\tthe best that works here", "shared\ta listener and every dial on one port", "dial-only\tno listener", "sequential\tone socket at a time",
	}, cobra.ShellCompDirectiveNoFileComp))
}

const portModeName = "port-mode"

// portModeOf returns the mode that a command's flags ask for.
func portModeOf(flags *pflag.FlagSet) reuse.Mode {
	if f := flags.Lookup(portModeName); f != nil {
		return reuse.Mode(*f.Value.(*portMode))
	}
	return 0
}

// logPort tells how the local port is used; that it is shared is nothing new.
func logPort(log *slog.Logger, e peer.Event) {
	if e.Err == nil {
		log.Debug("local port", "port", e.Port, "mode", e.Mode)
		return
	}
	log.Info("the local port is not shared", "port", e.Port, "mode", e.Mode, "reason", e.Err)
}
