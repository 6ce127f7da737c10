package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
	"github.com/peerd/peerd/punch"
	"github.com/peerd/peerd/punch/reuse"
)

func TestJudge(t *testing.T) {
	us, them := proto.ID{1}, proto.ID{2}
	about := subject{server: "example.org:7878", self: us, peer: them}
	server := func(cause error) error {
		return fmt.Errorf("%w: example.org:7878: registering with example.org:7878: %w", peer.ErrServer, cause)
	}
	dial := func(cause error) error { return &peer.DialError{Peer: them, Phase: peer.PhasePunch, Err: cause} }
	mismatch := &identity.MismatchError{Want: them, Got: us}
	for _, test := range []struct {
		err  error
		code int
		text string // part of the line
	}{
		{nil, 0, ""},
		{errors.New("something"), exitOther, "something"},
		{server(&reuse.InUseError{Port: 4242, To: netip.MustParseAddrPort("192.0.2.1:7878"), Err: errors.New("in use")}), exitOther, "not reached: this host still holds a connection from port 4242 to 192.0.2.1:7878, for up to 60 s if it has ended (in use); wait"},
		{&usageError{&cobra.Command{Use: "x"}, "unknown flag"}, exitUsage, `unknown flag; see "x --help"`},
		{&signalError{os.Interrupt}, exitInterrupted, "interrupted"},
		{&signalError{syscall.SIGTERM}, exitTerminated, "terminated"},
		{&signalError{syscall.SIGHUP}, exitHangup, ""},
		{outputFailed(&os.PathError{Op: "write", Path: "stdout", Err: syscall.ENOSPC}), exitOther, "writing to standard output: no space left"},

		{server(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}), exitServer, "server example.org:7878 unreachable: connection refused; check"},
		{server(&net.DNSError{Err: "no such host", Name: "example.org", IsNotFound: true}), exitServer, "unreachable: lookup example.org: no such host; check the host's name in --server"},
		{server(&net.DNSError{Err: "no answer", Name: "example.org"}), exitServer, "unreachable: lookup example.org: no answer; check that \"peerd serve\" runs there"},
		{server(context.DeadlineExceeded), exitServer, "unreachable: no answer; check"},
		{server(io.EOF), exitServer, "unreachable: it closed the connection; check"},
		{server(errors.New("tls: something")), exitServer, "unreachable: tls: something; check"},
		{server(errors.Join(errors.New("first address"), &net.OpError{Op: "dial", Err: syscall.EHOSTUNREACH})), exitServer, "unreachable: no route to host; check"},
		{server(mismatch), exitMismatch, "server example.org:7878 is not the one that --server names: it proved the key " + us.String()},
		{&timeoutError{time.Second, "doing this"}, exitTimeout, "gave up after 1s while doing this; "},

		{dial(mismatch), exitMismatch, "peer " + them.String() + ": the other end proved to be " + us.String()},
		{dial(fmt.Errorf("%w (offline)", peer.ErrOffline)), exitOffline, "peer " + them.String() + " is unknown or offline; check"},
		{dial(peer.ErrNotAuthorised), exitNotAuthorised, `does not allow this one; run "peerd allow ` + us.String()},
		{fmt.Errorf("%w: %w", peer.ErrAborted, peer.ErrNotAuthorised), exitNotAuthorised, "does not allow this one"},
		{dial(errors.Join(peer.ErrNoDirect, errors.New("no connection within 10s: refused"))), exitNoDirect, "no direct connection to peer " + them.String() + ": no connection within 10s: refused; run again with -v"},
		{dial(errors.Join(peer.ErrNoDirect, &punch.HopelessError{Reason: punch.BothStrict, Err: errors.New("x")})), exitNoDirect,
			"no direct connection to peer " + them.String() + " can be made: both NATs refuse connections from outside"},
		{dial(errors.Join(peer.ErrNoDirect, &punch.HopelessError{Missing: peer.ErrNoGuess, Err: errors.New("x")})), exitNoDirect, " can be made: guessing ports is switched off"},
		{dial(errors.Join(peer.ErrNoDirect, &punch.HopelessError{Reason: punch.ResponderNoGuess, Role: proto.Initiator, Err: errors.New("x")})), exitNoDirect,
			" can be made: only guessing ports could connect the two, and the peer has that switched off (--no-guess)"},
		{dial(errors.New("busy")), exitOther, "connecting to " + them.String() + ": punch: busy; try again"},
		{&peer.RefusedError{Target: "22", Code: proto.CodeNotExposed}, exitRefused, `does not expose target "22"`},
		{&peer.RefusedError{Target: "22", Code: proto.CodeDialFailed, Text: "connection refused"}, exitRefused, `cannot reach its target "22": connection refused`},
		{&peer.RefusedError{Target: "22", Code: proto.CodeBusy}, exitRefused, `target "22": busy`},
		{fmt.Errorf("%w: EOF", peer.ErrAborted), exitOther, "the stream was cut off before its end: EOF; what has arrived is incomplete"},
	} {
		code, text := about.judge(test.err)
		if code != test.code || !strings.Contains(text, test.text) {
			t.Errorf("%v: code %d, %q; want %d, %q", test.err, code, text, test.code, test.text)
		}
	}
	if code, text := about.judge(outputFailed(syscall.EPIPE)); code != exitBrokenPipe || text != "" {
		t.Errorf("broken pipe: code %d, %q; want %d and silence", code, text, exitBrokenPipe)
	}
}

func TestOneLine(t *testing.T) {
	err := errors.Join(errors.New("one"), errors.New("two\r\nthree\n"))
	if got, want := oneLine(err.Error()), "one; two; three"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// What ends a context is the error to tell, and not what it led to.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	err := errors.New("failed")
	if got := interrupted(ctx, err); got != err {
		t.Errorf("context alive: %v, want %v", got, err)
	}
	stop := &signalError{os.Interrupt}
	cancel(stop)
	if got := interrupted(ctx, err); got != stop {
		t.Errorf("context ended: %v, want %v", got, stop)
	}
	if got := interrupted(ctx, nil); got != nil {
		t.Errorf("no error: %v, want nil", got)
	}
}
