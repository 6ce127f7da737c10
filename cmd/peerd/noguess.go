package main

import (
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const noGuessName = "no-guess"

// noGuessFlag adds --no-guess to a command that connects to peers.
func noGuessFlag(cmd *cobra.Command) {
	cmd.Flags().Bool(noGuessName, false, "leave out what takes thousands of SYNs: guessing ports, where one of both NATs chooses them at random")
}

// noGuessOf reports whether a command's flags ask for it.
func noGuessOf(flags *pflag.FlagSet) bool {
	no, err := flags.GetBool(noGuessName)
	return err == nil && no
}
