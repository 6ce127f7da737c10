package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch"
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
