package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peerd/peerd/proto"
)

// program is one run of peerd.
type program struct {
	stdin, stdout *os.File
	screen        *screen // standard error

	configFlag string // as given; "" means the environment's, or the default
	settings   settings

	// Flags, with what the environment and the file say in their place.
	server    string
	stateDir  string // "" means the default
	json      bool
	logLevel  string
	logFormat string
	verbose   bool
	quiet     bool

	help  *attempts // standard output for cobra, which does not look whether its help comes through
	begun bool      // a command's own work has begun; what fails before is a usage error
	names subject   // for the error line
}

const longHelp = `peerd gives two machines behind NATs one direct, end-to-end encrypted TCP
connection, and tunnels streams over it.

  vps$   peerd serve                            # prints peerd://203.0.113.7:7878#KEY
  home$  export PEERD_SERVER=peerd://203.0.113.7:7878#KEY
  home$  peerd pair                             # prints a ticket
  trip$  peerd pair -                           # takes it; now they know each other
  home$  peerd run --expose 22
  trip$  peerd ssh me@home
  trip$  peerd connect home -L 8022:22

Settings: a flag, or else its environment variable, or else the configuration
file, or else the default. The variable of each flag stands in its command's
help; an empty one counts as not set, and in one that may be repeated commas
separate the values. The file is config.toml in $XDG_CONFIG_HOME/peerd or
~/.config/peerd, or what --config or PEERD_CONFIG names:

  server = "peerd://203.0.113.7:7878#KEY"   # flags of every command, and also
  expose = ["22", "web=192.168.1.10:80"]    # expose, allow, local-port
  port-mode = "auto"                        # and port-mode
  [peers]
  home = "pek5…"                            # what people call a peer
  [serve]
  listen = ":443"                           # flags of one command

Who may connect, and what each may open, stands in authorized_peers beside that
file; see "peerd allow --help". NO_COLOR turns colours off.

PEER is a name from [peers] or authorized_peers, or a peer ID. Names are the
same in upper and lower case. A name that no peer has is exit code 5, a mistyped
ID 2.

Exit codes: 0 ok, 1 other failure, 2 usage, 4 server unreachable, 5 peer unknown
or offline, 6 identity mismatch, 7 not authorised, 8 no direct connection,
9 target refused, 124 timeout, 129 hung up, 130 interrupted, 141 nobody reads
standard output, 143 terminated. run and serve exit with 0 when a signal ends
them. SIGHUP ends no command that is started with it ignored, as nohup does.`

// run carries out a command line.
func (p *program) run(ctx context.Context, args []string) error {
	root := p.rootCommand()
	if len(args) == 0 {
		return &usageError{root, "a command is missing"}
	}
	root.SetArgs(separateSSH(root.PersistentFlags(), args))
	cmd, err := root.ExecuteContextC(ctx)
	if p.help.err != nil {
		return outputFailed(p.help.err)
	}
	if err == nil || p.begun {
		return err
	}
	text := err.Error()
	if cmd == root && !strings.HasPrefix(args[0], "-") {
		if like := nearest(args[0], commandNames(root)); len(like) > 0 {
			text += fmt.Sprintf(": did you mean %s?", strings.Join(like, " or "))
		}
	}
	return &usageError{cmd, text}
}

// attempts keeps the first error of writing.
type attempts struct {
	w   io.Writer
	err error
}

// Write implements io.Writer.
func (a *attempts) Write(b []byte) (int, error) {
	n, err := a.w.Write(b)
	if a.err == nil {
		a.err = err
	}
	return n, err
}

func commandNames(root *cobra.Command) (names []string) {
	for _, cmd := range root.Commands() {
		names = append(names, cmd.Name())
	}
	return names
}

func (p *program) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "peerd",
		Short:         "Direct TCP connections through NATs",
		Long:          longHelp,
		SilenceErrors: true, SilenceUsage: true,
		DisableSuggestions: true,
		PersistentPreRunE:  func(cmd *cobra.Command, _ []string) error { return p.checkFlags(cmd) },
	}
	root.SetIn(p.stdin)
	p.help = &attempts{w: p.stdout}
	root.SetOut(p.help)
	root.SetErr(p.screen)
	f := root.PersistentFlags()
	f.StringVar(&p.server, "server", "", "`URL` of the rendezvous server, as \"peerd serve\" prints it")
	f.StringVar(&p.stateDir, "state-dir", "", "`DIR` that holds the private key (default $XDG_STATE_HOME/peerd or ~/.local/state/peerd)")
	f.StringVar(&p.configFlag, "config", "", "configuration `FILE` (default $PEERD_CONFIG, $XDG_CONFIG_HOME/peerd/config.toml or ~/.config/peerd/config.toml)")
	f.BoolVar(&p.json, "json", false, "answer in JSON (doctor, id, peers, ping, sockets, version), as docs/json.md describes it")
	f.StringVar(&p.logLevel, "log-level", "", "log from `LEVEL` on: debug, info, warn or error (default info; nothing for nc, id, version)")
	f.StringVar(&p.logFormat, "log-format", "text", "log as `FORMAT` text or json")
	f.BoolVarP(&p.verbose, "verbose", "v", false, "log everything; shows each step of a connection")
	f.BoolVarP(&p.quiet, "quiet", "q", false, "log nothing")
	once(f, "config", "json", "verbose", "quiet")
	root.AddCommand(p.serveCommand(), p.runCommand(), p.connectCommand(), p.ncCommand(), p.sshCommand(), p.pingCommand(), p.idCommand(),
		p.peersCommand(), p.allowCommand(), p.denyCommand(), p.pairCommand(), p.doctorCommand(), p.socketsCommand(), p.versionCommand())
	describeVariables(root)
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch {
		case cmd.Name() == "help":
			cmd.Args = knownCommand
		case cmd.Name() == "completion":
			cmd.Args, cmd.RunE = cobra.ArbitraryArgs, unknownShell
		case takesPeer(cmd):
			cmd.ValidArgsFunction = p.completePeer
		default:
			cmd.ValidArgsFunction = cobra.NoFileCompletions
		}
	}
	return root
}

// takes checks that a command is given one argument for each of the names; those in
// brackets may be left out.
func takes(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		missing := slices.DeleteFunc(slices.Clone(names[min(len(args), len(names)):]), isOptional)
		switch {
		case len(missing) == 1:
			return fmt.Errorf("%s is missing", missing[0])
		case len(missing) > 1:
			return fmt.Errorf("%s are missing", strings.Join(missing, " and "))
		case len(args) > len(names) && len(names) == 0:
			return fmt.Errorf("%s takes no argument, and %q is one", cmd.Name(), args[0])
		case len(args) > len(names):
			return fmt.Errorf("%s takes %s, and %q is too much", cmd.Name(), strings.Join(names, " and "), args[len(names)])
		}
		return nil
	}
}

// isOptional reports whether an argument may be left out.
func isOptional(name string) bool { return strings.HasPrefix(name, "[") }

// takesPeer reports whether a command's first argument is a peer.
func takesPeer(cmd *cobra.Command) bool {
	_, args, _ := strings.Cut(cmd.Use, " ")
	return strings.HasPrefix(strings.TrimPrefix(args, "["), "PEER") || strings.HasPrefix(args, "[user@]PEER")
}

// completePeer completes the name of a peer for the shell.
func (p *program) completePeer(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || p.loadSettings(cmd) != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	known, _ := p.petnames()
	for _, n := range known {
		if len(n.name) >= len(typed) && strings.EqualFold(n.name[:len(typed)], typed) {
			names = append(names, cobra.CompletionWithDesc(n.name, n.id.String()))
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// knownCommand makes help for a command that does not exist an error.
func knownCommand(cmd *cobra.Command, args []string) error {
	_, _, err := cmd.Root().Find(args)
	return err
}

// unknownShell is what completion does without one of its commands.
func unknownShell(cmd *cobra.Command, args []string) error {
	shells := strings.Join(commandNames(cmd), ", ")
	if len(args) == 0 {
		return errors.New("a shell is missing: one of " + shells)
	}
	return fmt.Errorf("no completion for %q: there are those for %s", args[0], shells)
}

// begin wraps a command's work; what fails before it is a usage error.
func (p *program) begin(work func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		p.begun = true
		return work(cmd, args)
	}
}

// answersJSON are the commands that --json is for.
var answersJSON = map[string]bool{"doctor": true, "id": true, "peers": true, "ping": true, "sockets": true, "version": true}

func (p *program) checkFlags(cmd *cobra.Command) error {
	if p.json && !answersJSON[cmd.Name()] {
		return fmt.Errorf("--json has no meaning for %s", cmd.Name())
	}
	if !needsNoSettings(cmd) {
		if err := p.loadSettings(cmd); err != nil {
			return err
		}
	}
	return p.checkLogFlags()
}

// settingless are the commands that work whatever the configuration file says,
// and so do theirs.
var settingless = map[string]bool{"completion": true, "sockets": true, "version": true}

// needsNoSettings reports whether a command is one of these.
func needsNoSettings(cmd *cobra.Command) bool {
	return settingless[cmd.Name()] || cmd.HasParent() && settingless[cmd.Parent().Name()]
}

// serverURL returns the server that the settings name.
func (p *program) serverURL(cmd *cobra.Command) (proto.ServerURL, error) {
	if p.server == "" {
		return proto.ServerURL{}, &usageError{cmd, `no rendezvous server: set --server or PEERD_SERVER to the URL that "peerd serve" prints`}
	}
	u, err := proto.ParseServerURL(p.server)
	if err != nil {
		return u, &usageError{cmd, fmt.Sprintf("%s: %v", p.settings.origin("server"), err)}
	}
	p.names.server, p.names.origin = u.HostPort(), p.settings.origin("server")
	return u, nil
}

// statePath returns the path of a file in the state directory.
func (p *program) statePath(name string) (string, error) {
	if p.stateDir != "" {
		return filepath.Join(p.stateDir, name), nil
	}
	// A relative path is invalid and to be ignored (XDG base directories).
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "peerd", name), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no state directory: %w; set --state-dir or PEERD_STATE_DIR", err)
	}
	return filepath.Join(home, ".local", "state", "peerd", name), nil
}

// notice prints a line that is neither an answer nor a log, unless -q is given.
func (p *program) notice(text string) {
	if !p.quiet {
		fmt.Fprintln(p.screen, text)
	}
}

// warn prints a line about what is wrong but in nobody's way.
func (p *program) warn(text string) { fmt.Fprintln(p.screen, "peerd: warning: "+oneLine(text)) }

// println prints an answer.
func (p *program) println(text string) error {
	_, err := io.WriteString(p.stdout, text+"\n")
	return outputFailed(err)
}
