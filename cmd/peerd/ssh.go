package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/peerd/peerd/proto"
)

func (p *program) sshCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "ssh [user@]PEER [ARGUMENT]...",
		Short: "Log in to a peer with ssh",
		Long: `Run the system's ssh through a connection to a peer. All arguments are ssh's, with
PEER as the host; options of peerd itself have two dashes and stand before it.
The port of the peer's loopback is 22, or what ssh is given with -p or in its
configuration. The peer must expose that port, or permit it.

ssh keeps the host's key under the peer's ID, so that the name may change, and its
exit code is that of this command.

Other programs that can be told which ssh to run may be told this one: rsync
with -e, git with GIT_SSH_COMMAND; scp needs a script, which it is given with -S,
that does exec peerd ssh "$@".`,
		Example: `  peerd ssh me@home
  peerd ssh -p 2222 -l me home uptime
  rsync -a -e 'peerd ssh' src/ me@home:dst/
  GIT_SSH_COMMAND='peerd ssh' git clone me@home:repo`,
		Args: cobra.ArbitraryArgs,
		RunE: p.begin(func(cmd *cobra.Command, args []string) error { return p.ssh(cmd, args) }),
	}
}

// ssh replaces this process by ssh.
func (p *program) ssh(cmd *cobra.Command, args []string) error {
	switch {
	case len(args) == 0:
		return &usageError{cmd, "PEER is missing"}
	case isLong(args[0]):
		return &usageError{cmd, "unknown flag: " + args[0]}
	}
	program, err := exec.LookPath("ssh")
	if err != nil {
		return fmt.Errorf("there is no ssh program in PATH; install OpenSSH's client")
	}
	argv := append([]string{"ssh"}, args...)
	if i := sshDestination(args); i < len(args) {
		id, err := p.parsePeer(cmd, sshHost(args[i]))
		if err != nil {
			return err
		}
		options := []string{"ssh", "-o", "ProxyCommand=" + p.proxyCommand(id), "-o", "HostKeyAlias=" + id.String()}
		argv = append(options, args...)
	}
	p.screen.status("")
	passOn(cmd.Root().PersistentFlags())
	return become(program, argv, os.Environ())
}

// proxyCommand is what ssh runs to connect. Its shell and ssh's own % see it.
func (p *program) proxyCommand(id proto.ID) string {
	self, err := os.Executable()
	if err != nil {
		self = os.Args[0]
	}
	command := quoteForShell(self)
	if p.verbose {
		command += " -v"
	}
	if p.quiet {
		command += " -q"
	}
	return strings.ReplaceAll(command, "%", "%%") + " nc " + id.String() + " %p"
}

// passOn puts the command line's settings into the environment, for the nc that
// ssh runs.
func passOn(flags *pflag.FlagSet) {
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Changed && (isSetting(f) || f.Name == "config") {
			os.Setenv(variable(f.Name), f.Value.String())
		}
	})
}

// sshWithArgument are ssh's options that take an argument (OpenSSH 10.0).
const sshWithArgument = "BbcDEeFIiJLlmOoPpQRSWw"

// sshDestination returns the index of the destination in ssh's arguments, or
// their number if there is none.
func sshDestination(args []string) int {
	for i := 0; i < len(args); i++ {
		switch arg := args[i]; {
		case arg == "--":
			return min(i+1, len(args))
		case len(arg) < 2 || arg[0] != '-':
			return i
		default:
			at := strings.IndexAny(arg[1:], sshWithArgument)
			if at == len(arg)-2 { // nothing is behind it: the argument is the next one
				i++
			}
		}
	}
	return len(args)
}

// sshHost returns the host in a destination: [user@]host or
// ssh://[user@]host[:port].
func sshHost(destination string) string {
	uri, isURI := strings.CutPrefix(destination, "ssh://")
	if isURI {
		uri, _, _ = strings.Cut(uri, "/")
		destination = uri
	}
	host := destination[strings.LastIndexByte(destination, '@')+1:]
	if isURI {
		host, _, _ = strings.Cut(host, ":")
	}
	return host
}

// separateSSH marks which arguments are ssh's: those behind the command "ssh" but
// for options with two dashes, of which ssh has none.
func separateSSH(flags *pflag.FlagSet, args []string) []string {
	at := skipFlags(flags, args, func(arg string) bool { return strings.HasPrefix(arg, "-") })
	if at >= len(args) || args[at] != "ssh" {
		return args
	}
	rest := args[at+1:]
	ours := skipFlags(flags, rest, func(arg string) bool {
		name, _, _ := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
		return isLong(arg) && flags.Lookup(name) != nil
	})
	if slices.Equal(rest[ours:], []string{"--help"}) {
		return args
	}
	separated := append([]string{}, args[:at]...)
	separated = append(separated, rest[:ours]...)
	return append(append(separated, "ssh", "--"), rest[ours:]...)
}

// isLong reports whether an argument is an option with two dashes.
func isLong(arg string) bool { return strings.HasPrefix(arg, "--") && arg != "--" }

// skipFlags returns how many of the arguments are flags, and values of such, at
// the beginning.
func skipFlags(flags *pflag.FlagSet, args []string, isFlag func(string) bool) int {
	i := 0
	for ; i < len(args) && isFlag(args[i]); i++ {
		name, long := strings.CutPrefix(args[i], "--")
		f := flags.Lookup(name)
		if long && f != nil && f.NoOptDefVal == "" {
			i++ // its value
		}
	}
	return min(i, len(args))
}
