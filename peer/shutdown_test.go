package peer

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
)

// What is open when a node is shut down goes on to its end; nothing new begins,
// from either side.
func TestShutdown(t *testing.T) {
	var r rules
	key := identity.Generate()
	r.set(key.ID(), Grant{Listen: []string{"*"}})
	url := startServer(t)
	b := startNode(t, Config{Server: url, Answer: true, Authorize: r.authorize, Expose: map[string]string{"echo": startEcho(t)}})
	a := startNode(t, Config{Server: url, Key: key})
	service := listen(t, b, "service")
	ctx := within(t, 10*time.Second)
	open, err := a.Dial(ctx, b.ID(), "echo")
	if err != nil {
		t.Fatal(err)
	}
	if err := open.Opened(); err != nil {
		t.Fatal(err)
	}
	session, err := a.Connect(ctx, b.ID())
	if err != nil {
		t.Fatal(err)
	}
	remote, err := session.Listen(ctx, "0")
	if err != nil {
		t.Fatal(err)
	}
	awaited := make(chan error, 1)
	go func() {
		_, err := b.Await(ctx, identity.Generate().ID())
		awaited <- err
	}()

	down := make(chan error, 1)
	go func() { down <- b.Shutdown(ctx) }()
	if err := <-awaited; !errors.Is(err, ErrClosed) {
		t.Errorf("Await: %v, want ErrClosed", err)
	}
	for what, l := range map[string]net.Listener{"a service": service, "a listener for the peer": remote} {
		if c, err := l.Accept(); err == nil {
			t.Errorf("%s goes on: %v", what, c)
		}
	}
	if got := outcome(t, a, b.ID(), "echo"); got != proto.CodeShutdown {
		t.Errorf("a new stream: %v, want shutting down", got)
	}
	if _, err := b.Dial(ctx, a.ID(), "x"); !errors.Is(err, ErrClosed) {
		t.Errorf("Dial: %v, want ErrClosed", err)
	}
	if _, err := b.Listen(ctx, "x"); !errors.Is(err, ErrClosed) {
		t.Errorf("Listen: %v, want ErrClosed", err)
	}
	stranger := startNode(t, Config{Server: url})
	eventually(t, "the node has left the server", func() bool {
		_, err := stranger.Connect(ctx, b.ID())
		return errors.Is(err, ErrOffline)
	})
	select {
	case err := <-down:
		t.Fatalf("Shutdown returned with a stream open: %v", err)
	default:
	}
	io.WriteString(open, "the rest")
	open.CloseWrite()
	if got, err := io.ReadAll(open); err != nil || string(got) != "the rest" {
		t.Errorf("the open stream: %q, %v", got, err)
	}
	if err := <-down; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	<-session.Done()
}

func TestShutdownGivesUp(t *testing.T) {
	url := startServer(t)
	key := identity.Generate()
	b := startNode(t, Config{Server: url, Answer: true, Allow: []proto.ID{key.ID()}, Expose: map[string]string{"echo": startEcho(t)}})
	a := startNode(t, Config{Server: url, Key: key})
	s, err := a.Dial(within(t, 10*time.Second), b.ID(), "echo")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Opened(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := b.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: %v, want the context's error", err)
	}
	if _, err := io.ReadAll(s); !errors.Is(err, ErrAborted) {
		t.Errorf("the open stream: %v, want it aborted", err)
	}
}

func TestCloseEndsCalls(t *testing.T) {
	n := startNode(t, Config{Server: startServer(t)})
	result := make(chan error, 1)
	go func() {
		_, err := n.Await(context.Background(), identity.Generate().ID())
		result <- err
	}()
	eventually(t, "the call has begun", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		return len(n.calls) > 0
	})
	n.Close()
	var dial *DialError
	if err := <-result; !errors.Is(err, ErrClosed) || !errors.As(err, &dial) {
		t.Errorf("Await: %v, want a DialError that wraps ErrClosed", err)
	}
	if _, err := n.Connect(t.Context(), proto.ID{1}); !errors.Is(err, ErrClosed) {
		t.Errorf("Connect: %v, want ErrClosed", err)
	}
}

func TestCloseAtAnyTime(t *testing.T) {
	server := startServer(t)
	dead := proto.ServerURL{Host: "127.0.0.1", Port: 1, Key: server.Key}
	for _, test := range []struct {
		name string
		url  proto.ServerURL
		run  func(*testing.T, *Node)
	}{
		{"before Start", server, func(*testing.T, *Node) {}},
		{"after Start", server, func(t *testing.T, n *Node) {
			if err := n.Start(t.Context()); err != nil {
				t.Error(err)
			}
			if err := n.Start(t.Context()); err == nil {
				t.Error("a second Start: no error")
			}
		}},
		{"after a Start that failed", dead, func(t *testing.T, n *Node) {
			if err := n.Start(t.Context()); !errors.Is(err, ErrServer) {
				t.Errorf("Start: %v, want ErrServer", err)
			}
		}},
		{"after Shutdown", server, func(t *testing.T, n *Node) {
			if err := n.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			n, err := New(Config{Key: identity.Generate(), Server: test.url})
			if err != nil {
				t.Fatal(err)
			}
			test.run(t, n)
			for range 2 {
				if err := n.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			}
			if err := n.Start(t.Context()); !errors.Is(err, ErrClosed) {
				t.Errorf("Start after Close: %v, want ErrClosed", err)
			}
			if err := n.Shutdown(t.Context()); err != nil {
				t.Errorf("Shutdown after Close: %v", err)
			}
		})
	}
}

// Close ends a Start that is under way.
func TestCloseDuringStart(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0") // accepts, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	url := proto.ServerURL{Host: "127.0.0.1", Port: uint16(l.Addr().(*net.TCPAddr).Port), Key: proto.ID{1}}
	n, err := New(Config{Key: identity.Generate(), Server: url})
	if err != nil {
		t.Fatal(err)
	}
	result := make(chan error, 1)
	go func() { result <- n.Start(context.Background()) }()
	eventually(t, "it has started", func() bool { return n.Port() != 0 })
	n.Close()
	if err := <-result; !errors.Is(err, ErrClosed) {
		t.Errorf("Start: %v, want ErrClosed", err)
	}
}

// What begins while the node closes is not started: nobody would wait for it.
func TestNothingIsSpawnedWhileClosing(t *testing.T) {
	n, err := New(Config{Key: identity.Generate(), Server: startServer(t)})
	if err != nil {
		t.Fatal(err)
	}
	ran := make(chan struct{})
	if !n.spawn(func() { close(ran) }) {
		t.Error("not started before Close")
	}
	n.Close()
	select {
	case <-ran:
	default:
		t.Error("Close did not wait")
	}
	if n.spawn(func() { t.Error("started after Close") }) {
		t.Error("spawn says that it started something after Close")
	}
}
