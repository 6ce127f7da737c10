package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch"
	"github.com/peerd/peerd/punch/reuse"
)

// aConnection is what a node tells of a connection that comes about on the
// second dial, while another one is still being secured.
var aConnection = []peer.Event{
	{Kind: peer.Registered},
	{Kind: peer.Introducing},
	{Kind: peer.Introduced},
	{Kind: peer.Punch, Punch: punch.Event{Kind: punch.Dialled}},
	{Kind: peer.Punch, Punch: punch.Event{Kind: punch.Failed}},
	{Kind: peer.Punch, Punch: punch.Event{Kind: punch.Dialled}},
	{Kind: peer.Punch, Punch: punch.Event{Kind: punch.Proven}},
	{Kind: peer.Secured},
	{Kind: peer.Punch, Punch: punch.Event{Kind: punch.Accepted}},
	{Kind: peer.Secured},
	{Kind: peer.Connected, Path: peer.Path{Kind: peer.Direct}},
}

func TestProgressInPlace(t *testing.T) {
	var buf bytes.Buffer
	s := &screen{w: &buf, width: func() int { return 80 }}
	g := &progress{server: "srv:1", peer: proto.ID{}, log: slog.New(slog.DiscardHandler), screen: s}
	g.begin()
	for _, e := range aConnection {
		g.event(e)
	}
	id := proto.ID{}.Short()
	want := []string{
		"registering with srv:1", "asking srv:1 for peer " + id, "punching through to peer " + id,
		"punching through to peer " + id + " (attempt 1)", "punching through to peer " + id + " (attempt 2)",
		"securing the connection to peer " + id, "waiting for peer " + id,
	}
	var got []string
	for line := range strings.SplitSeq(buf.String(), "\r") {
		if strings.TrimSpace(line) != "" {
			got = append(got, line)
		}
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("shown:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if !strings.HasSuffix(buf.String(), " \r") {
		t.Error("the status line stayed")
	}
}

// The limit of the connection phase says what took too long.
func TestLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &progress{server: "srv:1", log: slog.New(slog.DiscardHandler)}
		g.begin()
		ctx, cancel := g.limit(t.Context(), time.Minute)
		defer cancel()
		time.Sleep(59 * time.Second)
		g.event(peer.Event{Kind: peer.Registered})
		if ctx.Err() != nil {
			t.Fatal("too early")
		}
		<-ctx.Done()
		var late *timeoutError
		if err := context.Cause(ctx); !errors.As(err, &late) || !strings.HasPrefix(late.doing, "asking srv:1") {
			t.Errorf("%v, want what was under way", err)
		}
	})
}

// -v says of each attempt when it was, what happened, to which address of which
// kind, and the system's error by its name.
func TestEventsAreExplained(t *testing.T) {
	refused := fmt.Errorf("%w (%w)", punch.ErrRefused, os.NewSyscallError("connect", syscall.ECONNREFUSED))
	to := proto.NewCandidate(netip.MustParseAddrPort("192.0.2.1:5"), proto.Observed, 0)
	for _, c := range []struct {
		event punch.Event
		want  string
	}{
		{punch.Event{At: 1500 * time.Microsecond, Attempt: 1, Kind: punch.Dialled, To: to}, `event="+1.5ms #1 dialled observed 192.0.2.1:5"` + "\n"},
		{punch.Event{At: 41 * time.Millisecond, Attempt: 1, Kind: punch.Failed, To: to, Err: refused},
			`event="+41.0ms #1 failed observed 192.0.2.1:5: refused (connect: ` + syscall.ECONNREFUSED.Error() + `)" errno=` + reuse.ErrnoName(refused) + "\n"},
		{punch.Event{Kind: punch.Skipped, To: to, Err: errors.New("not on-link")}, `event="+0.0ms skipped observed 192.0.2.1:5: not on-link"` + "\n"},
	} {
		var buf bytes.Buffer
		g := &progress{log: slog.New(slog.NewTextHandler(&buf, &slog.HandlerOptions{Level: slog.LevelDebug}))}
		g.event(peer.Event{Kind: peer.Punch, Punch: c.event})
		if line, _, _ := strings.Cut(buf.String(), "msg=\"punch"); !strings.HasSuffix(line, " level=DEBUG msg=punch "+c.want) {
			t.Errorf("%s, want it to end with %s", line, c.want)
		}
	}
}
