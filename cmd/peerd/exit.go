package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
	"github.com/peerd/peerd/punch"
	"github.com/peerd/peerd/punch/reuse"
)

// Exit codes; scripts rely on them.
const (
	exitOther         = 1
	exitUsage         = 2
	exitServer        = 4
	exitOffline       = 5
	exitMismatch      = 6
	exitNotAuthorised = 7
	exitNoDirect      = 8
	exitRefused       = 9
	exitTimeout       = 124
	exitHangup        = 129 // 128 + SIGHUP
	exitInterrupted   = 130
	exitBrokenPipe    = 141 // 128 + SIGPIPE, what a shell makes of it
	exitTerminated    = 143 // 128 + SIGTERM
)

// subject is whom a command deals with, as far as it has come; error lines name
// them.
type subject struct {
	server string // host:port
	origin string // what names the server, if not --server
	self   proto.ID
	peer   proto.ID
	called string // what people call the peer, or ""
}

// who names the peer for people.
func (s subject) who() string { return cmp.Or(s.called, s.peer.String()) }

// thisID says which ID the peer has, behind who.
func (s subject) thisID() string {
	if s.called != "" {
		return s.peer.String()
	}
	return "this ID"
}

// usageError says what is wrong with a command line.
type usageError struct {
	cmd  *cobra.Command
	text string
}

// Error names the help to read.
func (e *usageError) Error() string {
	return fmt.Sprintf("%s; see %q", e.text, e.cmd.CommandPath()+" --help")
}

// timeoutError is the cause of a context that --timeout ended.
type timeoutError struct {
	limit time.Duration
	doing string // what took too long
}

// Error says what took too long.
func (e *timeoutError) Error() string {
	return fmt.Sprintf("gave up after %v while %s; check the network there, or allow more time with --timeout", e.limit, e.doing)
}

// errBrokenPipe means that nobody reads standard output any more.
var errBrokenPipe = errors.New("nobody reads standard output")

// outputFailed says what an error of writing to standard output means.
func outputFailed(err error) error {
	switch {
	case err == nil:
		return nil
	case isBrokenPipe(err):
		return errBrokenPipe
	}
	return fmt.Errorf("writing to standard output: %w; check where it goes", withoutPath(err))
}

// withoutPath strips "write /dev/stdout" from an error.
func withoutPath(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}

// interrupted replaces an error by the cause that ended its context, if that
// is what happened.
func interrupted(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// report prints an error as one line and returns the exit code.
func (p *program) report(err error) int {
	p.screen.status("")
	code, text := p.names.judge(err)
	if text != "" {
		fmt.Fprintln(p.screen, "peerd: "+oneLine(text))
	}
	return code
}

// oneLine joins lines, which joined errors have.
func oneLine(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}

// judge returns the exit code of an error and the text for it: what failed, for
// whom, and what to do next. The order matters: an identity mismatch, say, is
// why a server counts as unreachable.
func (s subject) judge(err error) (code int, text string) {
	var (
		usage    *usageError
		coded    *codedError
		stopped  *signalError
		timeout  *timeoutError
		mismatch *identity.MismatchError
		refused  *peer.RefusedError
		remote   *remoteError
		dial     *peer.DialError
		inUse    *reuse.InUseError
		hopeless *punch.HopelessError
	)
	switch {
	case err == nil:
		return 0, ""
	case errors.As(err, &usage):
		return exitUsage, usage.Error()
	case errors.As(err, &coded):
		return coded.code, coded.text
	case errors.Is(err, errBrokenPipe):
		return exitBrokenPipe, ""
	case errors.As(err, &stopped):
		return stopped.exitCode(), stopped.lastWords()
	case errors.As(err, &timeout):
		return exitTimeout, timeout.Error()
	case errors.As(err, &mismatch):
		return exitMismatch, s.mismatch(err, mismatch)
	case errors.Is(err, peer.ErrNotAuthorised):
		return exitNotAuthorised, s.stranger()
	case errors.As(err, &remote):
		return s.notListening(remote)
	case errors.As(err, &refused) && refused.Code == proto.CodeNotAuthorised:
		return exitNotAuthorised, s.stranger()
	case errors.As(err, &refused):
		return exitRefused, s.refused(refused)
	case errors.Is(err, peer.ErrOffline):
		return exitOffline, fmt.Sprintf("peer %s is unknown or offline; check that \"peerd run\" runs there with the server %s, and that \"peerd id\" there still prints %s", s.who(), s.server, s.thisID())
	case errors.As(err, &hopeless):
		return exitNoDirect, fmt.Sprintf("no direct connection to peer %s can be made: %s", s.who(), hopeless.Short())
	case errors.Is(err, peer.ErrNoDirect):
		return exitNoDirect, fmt.Sprintf("no direct connection to peer %s: %v; run again with -v to see every attempt", s.who(), innermost(err))
	case errors.As(err, &inUse):
		return exitOther, fmt.Sprintf("rendezvous server %s not reached: %v; wait, or choose another port with --local-port", s.server, inUse)
	case errors.Is(err, peer.ErrServer):
		return exitServer, fmt.Sprintf("rendezvous server %s unreachable: %s; %s", s.server, reason(err), s.checkServer(err))
	case errors.As(err, &dial):
		return exitOther, fmt.Sprintf("%v; try again, with -v to see every step", err)
	case errors.Is(err, peer.ErrAborted):
		return exitOther, fmt.Sprintf("peer %s: %v; what has arrived is incomplete, run again", s.who(), err)
	}
	return exitOther, err.Error()
}

// lastWords is nothing for SIGHUP: the terminal is gone, or ssh has ended and
// hangs up on its ProxyCommand, and no one asked for a word in either case.
func (e *signalError) lastWords() string {
	if e.signal == syscall.SIGHUP {
		return ""
	}
	return e.Error()
}

func (e *signalError) exitCode() int {
	switch e.signal {
	case os.Interrupt:
		return exitInterrupted
	case syscall.SIGHUP:
		return exitHangup
	}
	return exitTerminated
}

func (s subject) mismatch(err error, m *identity.MismatchError) string {
	if errors.Is(err, peer.ErrServer) {
		return fmt.Sprintf("rendezvous server %s is not the one that %s names: it proved the key %s, not %s; check the URL with who runs the server", s.server, cmp.Or(s.origin, "--server"), m.Got, m.Want)
	}
	return fmt.Sprintf("peer %s: %v; nothing was sent, somebody may be in between", s.who(), m)
}

// checkServer says what to look at when a server cannot be reached.
func (s subject) checkServer(err error) string {
	var lookup *net.DNSError
	if errors.As(err, &lookup) && lookup.IsNotFound {
		return fmt.Sprintf("check the host's name in %s", cmp.Or(s.origin, "--server"))
	}
	return fmt.Sprintf("check that \"peerd serve\" runs there and that %s names it", cmp.Or(s.origin, "--server"))
}

// stranger says that the peer has not authorised this one.
func (s subject) stranger() string {
	return fmt.Sprintf("peer %s does not allow this one; run \"peerd allow %s\" there", s.who(), s.self)
}

// notListening says why the peer does not listen for this one.
func (s subject) notListening(r *remoteError) (code int, text string) {
	if r.refusal.Code == proto.CodeNotAuthorised {
		return exitNotAuthorised, fmt.Sprintf("peer %s does not permit this one to listen at %s; add it to permit-listen of %s in authorized_peers there", s.who(), r.bind, s.self)
	}
	return exitRefused, fmt.Sprintf("peer %s cannot listen at %s: %s; choose another place with -R", s.who(), r.bind, cmp.Or(r.refusal.Text, r.refusal.Code.String()))
}

func (s subject) refused(r *peer.RefusedError) string {
	switch r.Code {
	case proto.CodeNotExposed:
		return fmt.Sprintf("peer %s does not expose target %q; add it to \"peerd run\" there with --expose, or to permit-open of %s in authorized_peers", s.who(), r.Target, s.self)
	case proto.CodeDialFailed, proto.CodeUnreachable:
		return fmt.Sprintf("peer %s cannot reach its target %q: %s; start the service there", s.who(), r.Target, r.Text)
	}
	return fmt.Sprintf("peer %s: %v; ask who runs it", s.who(), r)
}

// reason returns the part of a server's error that says why.
func reason(err error) string {
	var (
		lookup *net.DNSError
		op     *net.OpError
	)
	switch {
	case errors.As(err, &lookup):
		return lookup.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer"
	case errors.As(err, &op):
		return op.Err.Error()
	case errors.Is(err, io.EOF):
		return "it closed the connection"
	}
	return innermost(err).Error()
}

// innermost follows the causes, of several the last one.
func innermost(err error) error {
	for {
		var next error
		switch e := err.(type) {
		case interface{ Unwrap() error }:
			next = e.Unwrap()
		case interface{ Unwrap() []error }:
			if list := e.Unwrap(); len(list) > 0 {
				next = list[len(list)-1]
			}
		}
		if next == nil {
			return err
		}
		err = next
	}
}
