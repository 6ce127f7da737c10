package peer

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
)

// Two nodes that await each other, whichever comes first and by how much, get
// one session, which both use.
func TestBothAwait(t *testing.T) {
	url := startServer(t)
	for i, skew := range []time.Duration{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 5, 5, 20, 20, 100, 100, 500, 500} {
		skew *= time.Millisecond
		var mu sync.Mutex
		connected := map[proto.ID]int{}
		count := func(e Event) {
			mu.Lock()
			defer mu.Unlock()
			if e.Kind == Connected {
				connected[e.Peer]++
			}
		}
		cfg := Config{Server: url, Events: count}
		if i%4 > 1 { // daemons, which answer each other in any case
			cfg.Answer, cfg.Authorize = true, func(proto.ID) (Grant, bool) { return Grant{}, true }
		}
		a, b := startNode(t, cfg), startNode(t, cfg)
		first, second := a, b
		if i%2 == 1 {
			first, second = b, a
		}
		ctx := within(t, 10*time.Second)
		var wg sync.WaitGroup
		await := func(n, other *Node) {
			s, err := n.Await(ctx, other.ID())
			if err != nil {
				t.Errorf("skew %v: %v", skew, err)
				return
			}
			if again, err := n.Await(ctx, other.ID()); err != nil || again != s {
				t.Errorf("skew %v: another session with %s: %v", skew, other.ID().Short(), err)
			}
		}
		wg.Go(func() { await(first, second) })
		time.Sleep(skew) // part of the scenario
		wg.Go(func() { await(second, first) })
		wg.Wait()
		if t.Failed() {
			return
		}
		if x, y := a.sessionsWith(b.ID()), b.sessionsWith(a.ID()); x != 1 || y != 1 {
			t.Fatalf("skew %v: %d and %d sessions", skew, x, y)
		}
		a.Close()
		b.Close()
		if connected[a.ID()] > 1 || connected[b.ID()] > 1 {
			t.Fatalf("skew %v: there have been %d and %d sessions", skew, connected[a.ID()], connected[b.ID()])
		}
	}
}

// TestWorkOnAWishEnds guards against another introduction, and a second session, for
// a call that has its session and is about to be told so.
func TestWorkOnAWishEnds(t *testing.T) {
	url := startServer(t)
	b := startNode(t, Config{Server: url, Answer: true, Authorize: func(proto.ID) (Grant, bool) { return Grant{}, true }})
	a := startNode(t, Config{Server: url})
	s, err := a.Await(within(t, 10*time.Second), b.ID())
	if err != nil {
		t.Fatal(err)
	}
	if again, err := a.attempt(within(t, 10*time.Second), wish{b.ID(), true}); err != nil || again != s {
		t.Errorf("another session: %v", err)
	}
}

// Await outlasts a peer that is not even registered.
func TestAwaitStranger(t *testing.T) {
	url := startServer(t)
	key := identity.Generate()
	a := startNode(t, Config{Server: url})
	result := make(chan error, 1)
	go func() {
		_, err := a.Await(within(t, 10*time.Second), key.ID())
		result <- err
	}()
	select {
	case err := <-result:
		t.Fatalf("Await of a peer that is not there: %v", err)
	case <-time.After(300 * time.Millisecond):
	}
	startNode(t, Config{Server: url, Key: key, Answer: true, Allow: []proto.ID{a.ID()}})
	if err := <-result; err != nil {
		t.Errorf("the peer came: %v", err)
	}
}

func TestAwaitGivesUp(t *testing.T) {
	a := startNode(t, Config{Server: startServer(t)})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := a.Await(ctx, identity.Generate().ID())
	var dial *DialError
	if !errors.Is(err, ErrOffline) || !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &dial) || dial.Phase != PhaseIntroduce {
		t.Errorf("Await of nobody: %#v, want a DialError that wraps ErrOffline and DeadlineExceeded", err)
	}
}

// A refusal is an answer: waiting does not help.
func TestAwaitIsRefused(t *testing.T) {
	url := startServer(t)
	b := startNode(t, Config{Server: url, Answer: true})
	a := startNode(t, Config{Server: url})
	if _, err := a.Await(within(t, 10*time.Second), b.ID()); !errors.Is(err, ErrNotAuthorised) {
		t.Errorf("Await of a peer that refuses: %v, want ErrNotAuthorised", err)
	}
}

// A server that does not keep requests is not asked all the time.
func TestAwaitPausesWithOldServer(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := &lyingServer{key: identity.Generate()}
	requests := make(chan time.Time, 16)
	go func() {
		raw, err := l.Accept()
		if err != nil {
			return
		}
		defer raw.Close()
		peer := s.register(t, raw)
		for {
			m, err := proto.Read(peer.conn)
			if err != nil {
				return
			}
			if m, ok := m.(*proto.Introduce); ok {
				requests <- time.Now()
				proto.Write(peer.conn, &proto.Declined{Request: m.Request, Code: proto.CodeOffline})
			}
		}
	}()
	a := startNode(t, Config{Server: proto.ServerURL{Host: "127.0.0.1", Port: uint16(l.Addr().(*net.TCPAddr).Port), Key: s.key.ID()}})
	go a.Await(t.Context(), identity.Generate().ID())
	first, second := <-requests, <-requests
	if pause := second.Sub(first); pause < minPause*3/4 || pause > 5*time.Second {
		t.Errorf("asked again after %v, want about %v", pause, minPause)
	}
}

// While nobody can be asked, the server is what is missing.
func TestConnectWithoutServer(t *testing.T) {
	a, err := New(Config{Key: identity.Generate(), Server: proto.ServerURL{Host: "127.0.0.1", Port: 1, Key: proto.ID{1}}, Persist: true})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if _, err := a.Await(t.Context(), proto.ID{2}); err == nil {
		t.Error("Await before Start: no error")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := a.Start(ctx); !errors.Is(err, ErrServer) {
		t.Errorf("Start without a server: %v, want ErrServer", err)
	}
	ctx, cancel = context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err = a.Await(ctx, proto.ID{2})
	var dial *DialError
	if !errors.Is(err, ErrServer) || errors.Is(err, ErrOffline) || !errors.As(err, &dial) || dial.Phase != PhaseRegister {
		t.Errorf("Await without a server: %v, want a DialError in phase register that wraps ErrServer", err)
	}
}

func TestPauses(t *testing.T) {
	var p patience
	within := func(want time.Duration) {
		t.Helper()
		if got := p.next(time.Second); got < want*3/4 || got >= want*5/4 {
			t.Errorf("pause %v, want about %v", got, want)
		}
	}
	within(time.Second)
	within(2 * time.Second)
	within(4 * time.Second)
	within(8 * time.Second)
	within(15 * time.Second)
	within(15 * time.Second)
	if got := p.next(proto.MaxWait); got != 0 {
		t.Errorf("pause %v after the server has waited, want none", got)
	}
	within(time.Second)
}

// A session that has just ended is not handed out again, nor does the
// introduction that made it make another one.
func TestConnectAfterSessionsEnd(t *testing.T) {
	url := startServer(t)
	ka, kb := identity.Generate(), identity.Generate()
	a := startNode(t, Config{Server: url, Key: ka, Answer: true, Allow: []proto.ID{kb.ID()}})
	b := startNode(t, Config{Server: url, Key: kb, Answer: true, Allow: []proto.ID{ka.ID()}})
	var last *Session
	for i := range 12 {
		from, to := a, b
		if i%3 == 2 {
			from, to = b, a
		}
		s, err := from.Connect(within(t, 10*time.Second), to.ID())
		if err != nil {
			t.Fatal(err)
		}
		if s == last {
			t.Fatal("got a session that has ended")
		}
		last = s
		s.mux.Close()
	}
}

// Who has called a peer answers it for as long as the session lives: the peer may
// have lost it without this node knowing yet.
func TestCallerAnswersWhileSessionLives(t *testing.T) {
	url := startServer(t)
	key := identity.Generate()
	a := startNode(t, Config{Server: url})
	b := startNode(t, Config{Server: url, Key: key, Answer: true, Allow: []proto.ID{a.ID()}})
	ctx := within(t, 10*time.Second)
	if _, err := a.Connect(ctx, b.ID()); err != nil {
		t.Fatal(err)
	}
	again := startNode(t, Config{Server: url, Key: key}) // b after a restart, say
	if _, err := again.Connect(ctx, a.ID()); err != nil {
		t.Errorf("the peer connects back: %v", err)
	}
	b.Close()
	again.Close()
	eventually(t, "all sessions have ended", func() bool { return a.sessionsWith(key.ID()) == 0 })
	late := startNode(t, Config{Server: url, Key: key})
	if _, err := late.Connect(ctx, a.ID()); !errors.Is(err, ErrOffline) {
		t.Errorf("after the session's end: %v, want ErrOffline", err)
	}
}
