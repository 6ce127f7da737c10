package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"

	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/peer/tunnel"
)

// exchange joins a stream to standard input and output. Reading those cannot
// be interrupted, so its goroutines may outlive run: it is for a program that
// then exits.
type exchange struct {
	stream *peer.Stream
	in     *input
	out    io.WriteCloser

	opened   chan struct{} // closed when the target is there
	received chan error    // nil: the end was read and everything is written
	sent     chan error    // nil: the end was sent
}

func newExchange(s *peer.Stream, in io.Reader, out io.WriteCloser) *exchange {
	return &exchange{
		stream: s, in: newInput(in), out: out,
		opened: make(chan struct{}), received: make(chan error, 1), sent: make(chan error, 1),
	}
}

// run copies in both directions. The contexts end it with their cause:
// connecting as long as the target has not answered, ctx always. Unless the
// result is nil, the other end has seen the stream cut off or refused it.
func (x *exchange) run(ctx, connecting context.Context) error {
	go func() { x.received <- x.receive() }()
	go func() { x.sent <- x.send() }()
	err := x.await(ctx, connecting)
	if err != nil {
		x.stream.Abort()
	}
	return err
}

func (x *exchange) await(ctx, connecting context.Context) error {
	opened, limit, sent := x.opened, connecting.Done(), x.sent
	var sendErr error
	for {
		select {
		case <-opened:
			opened, limit = nil, nil
		case <-limit:
			return context.Cause(connecting)
		case <-ctx.Done():
			return context.Cause(ctx)
		case sendErr = <-sent:
			var local *inputError
			if errors.As(sendErr, &local) {
				return sendErr
			}
			sent = nil // what happened to the stream, receive knows better
		case err := <-x.received:
			switch {
			case err != nil:
				return err
			case sent == nil:
				return x.drain(ctx, sendErr)
			}
			return x.linger(ctx)
		}
	}
}

// receive copies from the stream to standard output, which it closes behind
// the end.
func (x *exchange) receive() error {
	if err := x.stream.Opened(); err != nil {
		return err
	}
	close(x.opened)
	if err := tunnel.Copy(output{x.out}, x.stream); err != nil {
		return err
	}
	return outputFailed(x.out.Close())
}

// send copies from standard input to the stream.
func (x *exchange) send() error {
	if err := tunnel.Copy(x.stream, x.in); err != nil {
		return err
	}
	return x.stream.CloseWrite()
}

// linger waits, after the target's end, until standard input has ended, too: the
// target may still read, and what it is not given must not look complete. A
// person at a terminal is not waited for.
func (x *exchange) linger(ctx context.Context) error {
	if x.in.terminal {
		x.stream.Abort()
		return nil
	}
	closed := make(chan error, 1)
	go func() { closed <- x.stream.Drain(ctx) }()
	select {
	case err := <-x.sent:
		return x.drain(ctx, err)
	case err := <-closed: // the other end takes no more input
		return interrupted(ctx, err)
	}
}

// drain waits until the other end has taken everything.
func (x *exchange) drain(ctx context.Context, sendErr error) error {
	var local *inputError
	switch {
	case errors.As(sendErr, &local):
		return sendErr
	case sendErr != nil:
		return fmt.Errorf("peer %s: the target closed before it had taken all of standard input: %w; look at the service there", x.stream.RemoteAddr(), sendErr)
	}
	return interrupted(ctx, x.stream.Drain(ctx))
}

// input is standard input.
type input struct {
	r        io.Reader
	terminal bool // a person types there
}

func newInput(r io.Reader) *input {
	f, ok := r.(*os.File)
	return &input{r: r, terminal: ok && term.IsTerminal(int(f.Fd()))}
}

// Read implements io.Reader.
func (i *input) Read(b []byte) (int, error) {
	n, err := i.r.Read(b)
	if err != nil && err != io.EOF {
		err = &inputError{withoutPath(err)}
	}
	return n, err
}

// inputError is an error of standard input.
type inputError struct {
	err error
}

// Error implements error.
func (e *inputError) Error() string {
	return fmt.Sprintf("reading standard input: %v", e.err)
}

// output is standard output.
type output struct {
	w io.Writer
}

// Write implements io.Writer.
func (o output) Write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	return n, outputFailed(err)
}
