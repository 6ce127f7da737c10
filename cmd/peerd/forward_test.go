//go:build unix

package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/peer/stream"
	"github.com/peerd/peerd/peer/tunnel"
	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
	"github.com/peerd/peerd/rendezvous"
)

// startNodeWith starts a node on loopback and closes it with the test.
func startNodeWith(t *testing.T, cfg peer.Config) *peer.Node {
	t.Helper()
	n, err := peer.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n
}

// forwarded returns where a local forward listens that leads to a server which
// handles one connection as it is told.
func forwarded(t *testing.T, handle func(*net.TCPConn)) (addr string) {
	t.Helper()
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, before) })
	key := identity.Generate()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := rendezvous.NewServer(rendezvous.ServerConfig{Key: key})
	done := make(chan struct{})
	go func() { defer close(done); server.Serve(l) }()
	t.Cleanup(func() { server.Close(); <-done })
	url := proto.ServerURL{Host: "127.0.0.1", Port: portOf(l), Key: key.ID()}

	mine, theirs := identity.Generate(), identity.Generate()
	startNodeWith(t, peer.Config{
		Key: theirs, Server: url, Answer: true, Allow: []proto.ID{mine.ID()},
		Expose: map[string]string{"target": startTarget(t, handle)},
	})
	node := startNodeWith(t, peer.Config{Key: mine, Server: url})
	log := slog.New(slog.DiscardHandler)
	c := &connection{program: &program{screen: newScreen(os.Stderr)}, log: log, link: newLink(node, theirs.ID(), 10*time.Second, log)}
	if _, err := c.link.connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	entry, err := tunnel.Bind{}.Listen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	served := make(chan struct{})
	go func() {
		defer close(served)
		tunnel.Entry{Handle: c.forwardTo("target"), Log: log}.Serve(ctx, entry)
	}()
	t.Cleanup(func() { stop(); <-served })
	return entry.Addr().String()
}

// echo sends back what it gets.
func echo(c *net.TCPConn) { io.Copy(c, c) }

// More connections than a session has streams wait for their turn, and none is
// lost.
func TestConnectionsWaitForAStream(t *testing.T) {
	addr := forwarded(t, echo)
	const extra = 64
	answered := make(chan net.Conn, stream.MaxStreams+extra)
	for range cap(answered) {
		conn, err := net.Dial("tcp4", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		go func() {
			conn.SetDeadline(time.Now().Add(patience))
			io.WriteString(conn, "hello")
			if _, err := io.ReadFull(conn, make([]byte, 5)); err != nil {
				t.Error(err)
			}
			answered <- conn
		}()
	}
	var open []net.Conn
	for range stream.MaxStreams {
		open = append(open, <-answered)
	}
	for _, conn := range open {
		conn.Close() // makes room
	}
	for range extra {
		<-answered
	}
}

// Connections that come in bulk and end in every way leave nothing behind.
func TestConnectionsLeaveNothingBehind(t *testing.T) {
	addr := forwarded(t, echo)
	var clients sync.WaitGroup
	for i := range 200 {
		clients.Go(func() {
			c, err := net.Dial("tcp4", addr)
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			conn := c.(*net.TCPConn)
			conn.SetDeadline(time.Now().Add(patience))
			io.WriteString(conn, "hello")
			switch i % 4 {
			case 0: // gone before the answer
			case 1:
				conn.SetLinger(0)
			default:
				conn.CloseWrite()
				if got, err := io.ReadAll(conn); err != nil || string(got) != "hello" {
					t.Errorf("read %q, %v", got, err)
				}
			}
		})
	}
	clients.Wait()
}

func TestMilliseconds(t *testing.T) {
	for d, want := range map[time.Duration]string{
		30 * time.Microsecond: "0.0ms", 60 * time.Microsecond: "0.1ms", 312 * time.Microsecond: "0.3ms", 949 * time.Microsecond: "0.9ms",
		950 * time.Microsecond: "1ms", 1499 * time.Microsecond: "1ms", 31400 * time.Microsecond: "31ms",
	} {
		if got := milliseconds(d); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}
