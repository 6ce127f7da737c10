package peer

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
	"github.com/peerd/peerd/rendezvous"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// startServer runs a rendezvous server on loopback.
func startServer(t *testing.T) proto.ServerURL {
	t.Helper()
	key := identity.Generate()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := rendezvous.NewServer(rendezvous.ServerConfig{Key: key})
	done := make(chan struct{})
	go func() { defer close(done); s.Serve(l) }()
	t.Cleanup(func() { s.Close(); <-done })
	return proto.ServerURL{Host: "127.0.0.1", Port: uint16(l.Addr().(*net.TCPAddr).Port), Key: key.ID()}
}

// startNode starts a node and closes it with the test.
func startNode(t *testing.T, cfg Config) *Node {
	t.Helper()
	if cfg.Key == nil {
		cfg.Key = identity.Generate()
	}
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n
}

// startEcho runs a server that sends back what it gets.
func startEcho(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { defer c.Close(); io.Copy(c, c) })
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestDialExposedTarget(t *testing.T) {
	url := startServer(t)
	caller := identity.Generate()
	b := startNode(t, Config{Server: url, Answer: true, Allow: []proto.ID{caller.ID()}, Expose: map[string]string{"echo": startEcho(t)}})
	a := startNode(t, Config{Server: url, Key: caller})
	ctx := within(t, 10*time.Second)
	s, err := a.Dial(ctx, b.ID(), "echo")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(s)
	if err != nil || string(got) != "hello" {
		t.Fatalf("read %q, %v, want %q", got, err, "hello")
	}
	if err := s.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	if addr := s.RemoteAddr(); addr != (Addr{b.ID()}) {
		t.Errorf("remote address %v, want the peer's ID", addr)
	}
	session, err := a.Connect(ctx, b.ID())
	if err != nil {
		t.Fatal(err)
	}
	if p := session.Path(); p.Kind != Direct || p.Remote.Port() != b.Port() || p.Local.Port() != a.Port() {
		t.Errorf("path %+v, want direct between ports %d and %d", p, a.Port(), b.Port())
	}
}

func TestRefusals(t *testing.T) {
	url := startServer(t)
	friend, stranger := identity.Generate(), identity.Generate()
	b := startNode(t, Config{Server: url, Answer: true, Allow: []proto.ID{friend.ID()}, Expose: map[string]string{"dead": "127.0.0.1:1"}})
	ctx := within(t, 10*time.Second)

	a := startNode(t, Config{Server: url, Key: stranger})
	if _, err := a.Connect(ctx, b.ID()); !errors.Is(err, ErrNotAuthorised) {
		t.Errorf("a stranger connects: %v, want ErrNotAuthorised", err)
	}
	if _, err := a.Connect(ctx, identity.Generate().ID()); !errors.Is(err, ErrOffline) {
		t.Errorf("connecting to nobody: %v, want ErrOffline", err)
	}
	c := startNode(t, Config{Server: url, Key: friend})
	for target, code := range map[string]proto.Code{"22": proto.CodeNotExposed, "dead": proto.CodeDialFailed} {
		s, err := c.Dial(ctx, b.ID(), target)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.ReadAll(s)
		var refused *RefusedError
		if !errors.As(err, &refused) || refused.Code != code {
			t.Errorf("target %q: %v, want code %v", target, err, code)
		}
	}
}

// Both sides calling each other at once must give one connection.
func TestBothCall(t *testing.T) {
	url := startServer(t)
	for range 20 {
		ka, kb := identity.Generate(), identity.Generate()
		a := startNode(t, Config{Server: url, Key: ka, Answer: true, Allow: []proto.ID{kb.ID()}})
		b := startNode(t, Config{Server: url, Key: kb, Answer: true, Allow: []proto.ID{ka.ID()}})
		ctx := within(t, 10*time.Second)
		var wg sync.WaitGroup
		var sessions [2]*Session
		for i, pair := range [][2]*Node{{a, b}, {b, a}} {
			wg.Go(func() {
				var err error
				if sessions[i], err = pair[0].Connect(ctx, pair[1].ID()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if t.Failed() {
			return
		}
		pa, pb := sessions[0].Path(), sessions[1].Path()
		if pa.Local != pb.Remote || pa.Remote != pb.Local {
			t.Fatalf("two connections: %v and %v", pa, pb)
		}
		a.Close()
		b.Close()
	}
}

// A session that was confirmed has come about, though it was over before anybody could
// tell of it.
func TestShortSessionIsAnnounced(t *testing.T) {
	url := startServer(t)
	caller := identity.Generate()
	b := startNode(t, Config{Server: url, Answer: true, Allow: []proto.ID{caller.ID()}})
	told := make(chan EventKind, 64)
	a := startNode(t, Config{Server: url, Key: caller, Events: func(e Event) {
		if e.Kind == Connected || e.Kind == ConnectFailed || e.Kind == Disconnected {
			told <- e.Kind
		}
	}})
	s, err := a.Connect(within(t, 10*time.Second), b.ID())
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	<-s.mux.Done()
	announce := func() {}
	for range 2 {
		announce()
		for _, want := range []EventKind{Connected, Disconnected} {
			if got := <-told; got != want {
				t.Fatalf("told %s, want %s", got, want)
			}
		}
		announce = s.announce // late, when it is over
	}
}
