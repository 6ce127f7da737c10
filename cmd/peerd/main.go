// Command peerd connects machines behind NATs: it is the rendezvous server, the
// peer daemon and the client in one program.
//
// Data and answers go to standard output, everything else to standard error.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(execute(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

// execute is the whole program; it returns the exit code.
func execute(args []string, stdin, stdout, stderr *os.File) int {
	ctx, stop := withSignals(context.Background())
	defer stop()
	p := &program{stdin: stdin, stdout: stdout, screen: newScreen(stderr)}
	return p.report(p.run(ctx, args))
}

// withSignals returns a context that the first SIGINT, SIGTERM or SIGHUP ends,
// with a *signalError as its cause. The second one kills the program. A SIGHUP
// that is ignored from the start, as under nohup, stays ignored.
func withSignals(parent context.Context) (ctx context.Context, stop func()) {
	// Writing to a pipe that nobody reads is to be an error (EPIPE), not death
	// in the middle of something.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) {
		signal.Notify(signals, syscall.SIGHUP)
	}
	go func() {
		select {
		case s := <-signals:
			signal.Stop(signals)
			cancel(&signalError{s})
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// signalError is the cause of a context that a signal ended.
type signalError struct {
	signal os.Signal
}

// Error implements error.
func (e *signalError) Error() string {
	if e.signal == os.Interrupt {
		return "interrupted"
	}
	return "stopped by signal: " + e.signal.String()
}
