package stream

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
)

// listening opens a Listen stream and returns both of its ends.
func listening(t *testing.T, from, to *Mux) (opener, acceptor *Stream) {
	t.Helper()
	opener, err := from.OpenListen(t.Context(), "127.0.0.1:0", "back")
	if err != nil {
		t.Fatal(err)
	}
	acceptor, err = to.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if r, ok := acceptor.Request().(*proto.Listen); !ok || *r != (proto.Listen{Bind: "127.0.0.1:0", Reply: "back"}) {
		t.Fatalf("request %+v", acceptor.Request())
	}
	return opener, acceptor
}

func TestListen(t *testing.T) {
	client, server, _ := pair(t)
	opener, acceptor := listening(t, client, server)
	if err := acceptor.ConfirmListening("127.0.0.1:4000"); err != nil {
		t.Fatal(err)
	}
	if err := opener.Opened(); err != nil || opener.Bound() != "127.0.0.1:4000" {
		t.Errorf("listening at %q, %v", opener.Bound(), err)
	}
	acceptor.Abort()
	if _, err := opener.Read(make([]byte, 1)); !errors.Is(err, ErrAborted) {
		t.Errorf("the listener has ended: %v, want ErrAborted", err)
	}
}

func TestListenRefused(t *testing.T) {
	client, server, _ := pair(t)
	opener, acceptor := listening(t, client, server)
	acceptor.Refuse(proto.CodeDialFailed, "in use")
	var refused *RefusedError
	if err := opener.Opened(); !errors.As(err, &refused) || *refused != (RefusedError{opener.RemoteAddr(), "127.0.0.1:0", proto.CodeDialFailed, "in use"}) {
		t.Errorf("Opened: %v, want the refusal", err)
	}
}

// The answer to one request is none to the other.
func TestAnswerOfTheOtherRequest(t *testing.T) {
	client, server, _ := pair(t)
	opener, acceptor := listening(t, client, server)
	acceptor.Confirm()
	if err := opener.Opened(); !errors.Is(err, ErrProtocol) {
		t.Errorf("Opened for Listen: %v, want ErrProtocol", err)
	}
	opener, err := client.Open(t.Context(), "22")
	if err != nil {
		t.Fatal(err)
	}
	if acceptor, err = server.Accept(); err != nil {
		t.Fatal(err)
	}
	acceptor.ConfirmListening("127.0.0.1:4000")
	if err := opener.Opened(); !errors.Is(err, ErrProtocol) {
		t.Errorf("Listening for Open: %v, want ErrProtocol", err)
	}
}

func TestAwaitIdle(t *testing.T) {
	client, server, _ := pair(t)
	if err := server.AwaitIdle(t.Context()); err != nil {
		t.Fatalf("without streams: %v", err)
	}
	opener, acceptor := open(t, client, server)
	if client.Streams() != 1 || server.Streams() != 1 {
		t.Errorf("%d and %d streams, want 1", client.Streams(), server.Streams())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := server.AwaitIdle(ctx); err != context.Canceled {
		t.Errorf("with a stream: %v, want the context's error", err)
	}
	idle := make(chan error, 1)
	go func() { idle <- server.AwaitIdle(t.Context()) }()
	opener.Close()
	select {
	case <-idle:
		t.Error("idle with a stream that one end has closed")
	case <-time.After(10 * time.Millisecond):
	}
	acceptor.Close()
	if err := <-idle; err != nil {
		t.Error(err)
	}
	open(t, client, server)
	go func() { idle <- server.AwaitIdle(t.Context()) }()
	client.Close()
	if err := <-idle; err != nil {
		t.Errorf("the session's end: %v", err)
	}
}
