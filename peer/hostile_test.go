package peer

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/peerd/peerd/peer/stream"
	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
)

// A peer that this node calls is not allowed by that to use what it exposes.
func TestCallingDoesNotExpose(t *testing.T) {
	url := startServer(t)
	key := identity.Generate()
	called := startNode(t, Config{Server: url, Answer: true, Allow: []proto.ID{key.ID()}})
	caller := startNode(t, Config{Server: url, Key: key, Expose: map[string]string{"echo": startEcho(t)}})
	ctx := within(t, 10*time.Second)
	if _, err := caller.Connect(ctx, called.ID()); err != nil {
		t.Fatal(err)
	}
	s, err := called.Dial(ctx, caller.ID(), "echo")
	if err != nil {
		t.Fatal(err)
	}
	var refused *RefusedError
	if _, err := io.ReadAll(s); !errors.As(err, &refused) || refused.Code != proto.CodeNotAuthorised {
		t.Errorf("using what the caller exposes: %v, want not authorised", err)
	}
}

// A target that has read the end of its input and stays silent must not outlive
// the session, or the node could not be closed.
func TestCloseWithSilentTarget(t *testing.T) {
	url := startServer(t)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	silent := make(chan net.Conn, 1)
	go func() {
		if c, err := l.Accept(); err == nil {
			io.ReadAll(c)
			silent <- c
		}
	}()
	key := identity.Generate()
	b := startNode(t, Config{Server: url, Answer: true, Allow: []proto.ID{key.ID()}, Expose: map[string]string{"silent": l.Addr().String()}})
	a := startNode(t, Config{Server: url, Key: key})
	s, err := a.Dial(within(t, 10*time.Second), b.ID(), "silent")
	if err != nil {
		t.Fatal(err)
	}
	s.CloseWrite()
	c := <-silent
	defer c.Close()
	a.Close()
	b.Close() // hangs if the target's connection does
}

// A Connect that is given up ends what it began: nothing goes to a peer that
// nobody wants any more.
func TestCancelledConnectEndsTheMeeting(t *testing.T) {
	url := startServer(t)
	key := identity.Generate()
	b := startNode(t, Config{Server: url, Answer: true, Allow: []proto.ID{key.ID()}})
	ctx, cancel := context.WithCancel(t.Context())
	cancelled := make(chan struct{})
	connected := make(chan struct{}, 1)
	a := startNode(t, Config{Server: url, Key: key, Events: func(e Event) {
		switch e.Kind {
		case Introduced:
			cancel()
			<-cancelled // nothing is dialled before the caller has gone
		case Connected:
			connected <- struct{}{}
		}
	}})
	if _, err := a.Connect(ctx, b.ID()); !errors.Is(err, context.Canceled) {
		t.Fatalf("Connect: %v, want it cancelled", err)
	}
	close(cancelled)
	for limit := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if a.meetingWith(b.ID()) == nil {
			break
		}
		if time.Now().After(limit) {
			t.Fatal("the meeting goes on")
		}
	}
	if len(connected) > 0 {
		t.Error("a session came about after Connect was cancelled")
	}
}

// The refusal of a session is known from the moment at which its wait ends.
func TestRefusedSessionIsNotConfirmed(t *testing.T) {
	x, y := net.Pipe()
	defer y.Close()
	a := &attached{settled: make(chan struct{}), await: func() error { return ErrNotAuthorised }}
	m := stream.Client(x, 0)
	defer m.Close()
	a.confirm()
	s := &Session{conn: a, mux: m}
	if err := s.awaitConfirmed(t.Context()); !errors.Is(err, ErrNotAuthorised) {
		t.Errorf("a refused session: %v, want ErrNotAuthorised", err)
	}
}

// A stranger is refused before anything is dialled.
func TestStrangerCausesNoPunching(t *testing.T) {
	url := startServer(t)
	events := make(chan Event, 64)
	b := startNode(t, Config{Server: url, Answer: true, Events: func(e Event) { events <- e }})
	a := startNode(t, Config{Server: url})
	if _, err := a.Connect(within(t, 10*time.Second), b.ID()); !errors.Is(err, ErrNotAuthorised) {
		t.Errorf("a stranger connects: %v, want ErrNotAuthorised", err)
	}
	b.Close()
	close(events)
	for e := range events {
		if e.Kind == Introduced || e.Kind == Punch {
			t.Errorf("event %s for a stranger", e.Kind)
		}
	}
}
