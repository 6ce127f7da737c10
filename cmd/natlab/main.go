package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/peerd/peerd/punch/natlab"
)

func main() { os.Exit(execute(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// execute is the whole program; it returns the exit code. The writers take
// writes from several goroutines, as files do.
func execute(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, stop := withSignals(context.Background())
	defer stop()
	p := &program{stdin: stdin, stdout: stdout, stderr: stderr}
	code, text := judge(p.run(ctx, args))
	if text != "" {
		fmt.Fprintln(stderr, "natlab: "+oneLine(text))
	}
	return code
}

// oneLine joins lines, which joined errors have, and drops the prefix of the
// package's own errors.
func oneLine(text string) string {
	lines := strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' })
	return strings.TrimPrefix(strings.Join(lines, "; "), "natlab: ")
}

// withSignals returns a context that the first SIGINT or SIGTERM ends, with a
// *signalError as its cause. The second one kills the program.
func withSignals(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		defer signal.Stop(signals)
		select {
		case s := <-signals:
			cancel(&signalError{s})
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// program is one run of natlab.
type program struct {
	stdin          io.Reader
	stdout, stderr io.Writer

	begun bool // a command's own work has begun; what fails before is a usage error
}

const longHelp = `natlab builds a small internet inside this machine: a rendezvous server, two hosts
and the NATs in front of them, with kernel TCP on every host. It needs Linux, and
root or the permission to make user namespaces; nothing outside is touched.

Exit codes: 0 ok, 1 failure, 2 usage, 130 interrupted, 143 terminated; "run"
passes on its command's code.`

// run carries out a command line.
func (p *program) run(ctx context.Context, args []string) error {
	root := p.rootCommand()
	if len(args) == 0 {
		return &usageError{root, "a command is missing"}
	}
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	switch {
	case err != nil && ctx.Err() != nil:
		return context.Cause(ctx)
	case err != nil && !p.begun:
		return &usageError{cmd, err.Error()}
	}
	return err
}

func (p *program) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "natlab",
		Short:         "A laboratory of NATs for peerd",
		Long:          longHelp,
		Example:       "  natlab demo\n  natlab demo --a openwrt --b user-rst\n  natlab run --a openwrt --b user-rst --rtt 40ms --expose 22 -- sh -c 'peerd ping $PEER -c 3'",
		SilenceErrors: true, SilenceUsage: true,
		DisableSuggestions: true,
	}
	root.SetIn(p.stdin)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	for _, cmd := range []*cobra.Command{newDemoCommand(), newRunCommand(), newProveCommand(), newMatrixCommand(), newReplayCommand()} {
		cmd.RunE = p.begin(inLab(cmd.RunE))
		root.AddCommand(cmd)
	}
	for _, cmd := range []*cobra.Command{newProfilesCommand(), newAgentCommand(), newHubCommand(), newAppCommand()} {
		cmd.RunE = p.begin(cmd.RunE)
		root.AddCommand(cmd)
	}
	return root
}

type runE = func(*cobra.Command, []string) error

// begin wraps a command's work; what fails before it is a usage error.
func (p *program) begin(work runE) runE {
	return func(cmd *cobra.Command, args []string) error {
		p.begun = true
		return work(cmd, args)
	}
}

// inLab gets the right to make labs before a command's work. For that the
// program may have to start itself again, and then never returns.
func inLab(work runE) runE {
	return func(cmd *cobra.Command, args []string) error {
		if err := natlab.Enter(); err != nil {
			return err
		}
		return work(cmd, args)
	}
}

func newAgentCommand() *cobra.Command {
	return &cobra.Command{
		Use:    agentArg,
		Short:  "Be an agent on a host of the lab: JSON lines on standard input and output",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE:   func(*cobra.Command, []string) error { return runAgent(os.Stdin, os.Stdout) },
	}
}

func newHubCommand() *cobra.Command {
	return &cobra.Command{
		Use:    hubArg + " ADDR ALTERNATE",
		Short:  "Be the server of the lab until standard input ends",
		Hidden: true,
		Args:   cobra.ExactArgs(2),
		RunE:   func(_ *cobra.Command, args []string) error { return runHub(args[0], args[1], os.Stdin, os.Stdout) },
	}
}

func newAppCommand() *cobra.Command {
	return &cobra.Command{
		Use:    appArg + " dial|listen ADDR",
		Short:  "Be an application on a host of the lab: JSON lines on standard input and output",
		Hidden: true,
		Args:   cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			return runApp(args[0], args[1], os.Stdin, os.Stdout)
		},
	}
}

// Exit codes, those of peerd.
const (
	exitOther       = 1
	exitUsage       = 2
	exitInterrupted = 130
	exitTerminated  = 143 // 128 + SIGTERM
)

// usageError says what is wrong with a command line.
type usageError struct {
	cmd  *cobra.Command
	text string
}

// Error names the help to read.
func (e *usageError) Error() string {
	return fmt.Sprintf("%s; see %q", e.text, e.cmd.CommandPath()+" --help")
}

// signalError is the cause of a context that a signal ended.
type signalError struct{ signal os.Signal }

// Error implements error.
func (e *signalError) Error() string {
	if e.signal == os.Interrupt {
		return "interrupted"
	}
	return "stopped by signal: " + e.signal.String()
}

// commandError is the exit code of the command that "run" ran, which has said
// itself what is wrong.
type commandError struct{ code int }

// Error implements error.
func (e *commandError) Error() string { return fmt.Sprintf("the command exited with %d", e.code) }

// judge returns the exit code of an error and the text for it.
func judge(err error) (code int, text string) {
	var (
		usage   *usageError
		stopped *signalError
		command *commandError
	)
	switch {
	case err == nil:
		return 0, ""
	case errors.As(err, &usage):
		return exitUsage, usage.Error()
	case errors.As(err, &command):
		return command.code, ""
	case errors.As(err, &stopped) && stopped.signal == os.Interrupt:
		return exitInterrupted, stopped.Error()
	case errors.As(err, &stopped):
		return exitTerminated, stopped.Error()
	}
	return exitOther, err.Error()
}
