package peer

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/peerd/peerd/peer/stream"
	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
)

// remotePair is a session of a with b, where b's rules say what a may do.
func remotePair(t *testing.T, g Grant) (a, b *Node, s *Session, r *rules) {
	t.Helper()
	r = new(rules)
	key := identity.Generate()
	r.set(key.ID(), g)
	url := startServer(t)
	b = startNode(t, Config{Server: url, Answer: true, Authorize: r.authorize})
	a = startNode(t, Config{Server: url, Key: key})
	s, err := a.Connect(within(t, 10*time.Second), b.ID())
	if err != nil {
		t.Fatal(err)
	}
	return a, b, s, r
}

// visit connects to a listener's address on this host and returns what it sends
// back for "hello".
func visit(t *testing.T, network, addr string) (string, error) {
	t.Helper()
	c, err := net.Dial(network, addr)
	if err != nil {
		return "", err
	}
	defer c.Close()
	_, sent := io.WriteString(c, "hello")
	c.(interface{ CloseWrite() error }).CloseWrite()
	b, err := io.ReadAll(c)
	return string(b), errors.Join(sent, err) // a reset is told once only
}

// awaitRefused waits until nobody listens at an address any more.
func awaitRefused(t *testing.T, network, addr string) {
	t.Helper()
	eventually(t, addr+" is not listened at", func() bool {
		c, err := net.Dial(network, addr)
		if err == nil {
			c.Close()
		}
		return err != nil
	})
}

// eventually polls for what another goroutine brings about.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for limit := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("not so: %s", what)
		}
	}
}

func TestRemoteListener(t *testing.T) {
	_, b, s, _ := remotePair(t, Grant{Open: []string{}, Listen: []string{"*"}})
	l, err := s.Listen(within(t, 10*time.Second), "0")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(l.Addr().String(), "127.0.0.1:") || l.Addr().Network() != "tcp" {
		t.Errorf("listening at %v, want a port of the loopback", l.Addr())
	}
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- c
	}()
	visitor, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer visitor.Close()
	c := <-accepted
	defer c.Close()
	if id, ok := IDOf(c); !ok || id != b.ID() {
		t.Errorf("a connection from %v, %v, want the peer's", id, ok)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after Close: %v, want net.ErrClosed", err)
	}
	awaitRefused(t, "tcp", l.Addr().String())
	// The connection from before goes on, and its ends are passed on.
	io.WriteString(visitor, "question")
	visitor.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(c); err != nil || string(got) != "question" {
		t.Errorf("read %q, %v", got, err)
	}
	io.WriteString(c, "answer")
	c.Close()
	if got, err := io.ReadAll(visitor); err != nil || string(got) != "answer" {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestRemoteListenerEndsWithSession(t *testing.T) {
	_, b, s, _ := remotePair(t, Grant{Listen: []string{"*"}})
	l, err := s.Listen(within(t, 10*time.Second), "0")
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := l.Accept(); !errors.Is(err, ErrAborted) {
		t.Errorf("Accept after the session's end: %v, want ErrAborted", err)
	}
	awaitRefused(t, "tcp", l.Addr().String())
	if _, err := s.Listen(t.Context(), "0"); !errors.Is(err, ErrClosed) {
		t.Errorf("Listen on a closed session: %v, want ErrClosed", err)
	}
	eventually(t, "the peer does not count the listener", func() bool {
		b.mu.Lock()
		defer b.mu.Unlock()
		return len(b.remotes) == 0
	})
}

func TestRemoteListenerAtUnixSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	_, _, s, _ := remotePair(t, Grant{Listen: []string{"unix:" + path}})
	l, err := s.Listen(within(t, 10*time.Second), "unix:"+path)
	if err != nil {
		t.Fatal(err)
	}
	if l.Addr().Network() != "unix" || l.Addr().String() != "unix:"+path {
		t.Errorf("listening at %s %v", l.Addr().Network(), l.Addr())
	}
	echoOn(t, l)
	if got, err := visit(t, "unix", path); err != nil || got != "hello" {
		t.Errorf("read %q, %v", got, err)
	}
	l.Close()
	awaitRefused(t, "unix", path)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("the socket is left over: %v", err)
	}
}

func TestRemoteListenerRefused(t *testing.T) {
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for _, test := range []struct {
		name  string
		grant Grant
		bind  string
		code  proto.Code
	}{
		{"nothing permitted", Grant{}, "0", proto.CodeNotAuthorised},
		{"another port permitted", Grant{Listen: []string{"1"}}, "0", proto.CodeNotAuthorised},
		{"other interfaces not permitted", Grant{Listen: []string{"*"}}, "0.0.0.0:0", proto.CodeNotAuthorised},
		{"port taken", Grant{Listen: []string{"*"}}, taken.Addr().String(), proto.CodeDialFailed},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, b, s, _ := remotePair(t, test.grant)
			_, err := s.Listen(within(t, 10*time.Second), test.bind)
			var refused *RefusedError
			if !errors.As(err, &refused) || refused.Code != test.code || refused.Peer != (Addr{b.ID()}) {
				t.Errorf("listening at %s: %v, want code %v", test.bind, err, test.code)
			}
			if s.remote("") != nil || len(s.remotes) > 0 {
				t.Error("the listener is left over")
			}
		})
	}
}

// A peer that may not listen any more gets no more connections.
func TestDenyEndsRemoteListener(t *testing.T) {
	a, _, s, r := remotePair(t, Grant{Listen: []string{"*"}})
	l, err := s.Listen(within(t, 10*time.Second), "0")
	if err != nil {
		t.Fatal(err)
	}
	echoOn(t, l)
	addr := l.Addr().String()
	if got, err := visit(t, "tcp", addr); err != nil || got != "hello" {
		t.Fatalf("read %q, %v", got, err)
	}
	r.deny(a.ID())
	if got, _ := visit(t, "tcp", addr); got != "" {
		t.Errorf("a connection for a denied peer got %q", got)
	}
	awaitRefused(t, "tcp", addr)
}

// Each connection needs what permits the listener now, whatever permitted it when
// it began: another grant will do, but not one for other places.
func TestNarrowedGrantEndsRemoteListener(t *testing.T) {
	a, _, s, r := remotePair(t, Grant{Listen: []string{"*"}})
	l, err := s.Listen(within(t, 10*time.Second), "0")
	if err != nil {
		t.Fatal(err)
	}
	echoOn(t, l)
	addr := l.Addr().String()
	r.set(a.ID(), Grant{Listen: []string{"1", "127.0.0.1:*"}})
	if got, err := visit(t, "tcp", addr); err != nil || got != "hello" {
		t.Errorf("permitted by another entry: read %q, %v", got, err)
	}
	r.set(a.ID(), Grant{Listen: []string{"1", "unix:/nowhere"}})
	if got, _ := visit(t, "tcp", addr); got != "" {
		t.Errorf("a connection to where the peer may not listen any more got %q", got)
	}
	awaitRefused(t, "tcp", addr)
}

func TestRemoteListenersAreBounded(t *testing.T) {
	_, _, s, _ := remotePair(t, Grant{Listen: []string{"*"}})
	var last net.Listener
	for range maxRemotes {
		l, err := s.Listen(within(t, 10*time.Second), "0")
		if err != nil {
			t.Fatal(err)
		}
		last = l
	}
	var refused *RefusedError
	if _, err := s.Listen(t.Context(), "0"); !errors.As(err, &refused) || refused.Code != proto.CodeBusy {
		t.Errorf("one listener too many: %v, want busy", err)
	}
	last.Close()
	eventually(t, "there is room again", func() bool {
		_, err := s.Listen(t.Context(), "0")
		return err == nil
	})
}

// Only the peer at which this node listens can use the name of the reply, and
// only as long as it listens.
func TestReplyNeedsListener(t *testing.T) {
	a, b, s, _ := remotePair(t, Grant{Listen: []string{"*"}})
	l, err := s.Listen(within(t, 10*time.Second), "0")
	if err != nil {
		t.Fatal(err)
	}
	var reply string
	for name := range s.remotes {
		reply = name
	}
	echoOn(t, l)
	if got := outcome(t, b, a.ID(), reply); got != proto.CodeOK {
		t.Errorf("the peer's own stream: %v", got)
	}
	l.Close()
	if got := outcome(t, b, a.ID(), reply); got != proto.CodeNotAuthorised {
		t.Errorf("a listener that is closed: %v, want not authorised", got)
	}
}

// Connections that there are no streams for are reset, not kept waiting.
func TestConnectionsForPeerAreBounded(t *testing.T) {
	a, b, s, _ := remotePair(t, Grant{Listen: []string{"*"}})
	l, err := s.Listen(within(t, 10*time.Second), "0")
	if err != nil {
		t.Fatal(err)
	}
	echoOn(t, l)
	b.mu.Lock()
	far := b.sessions[a.ID()][0]
	b.mu.Unlock()
	far.bringing.Add(stream.MaxStreams)
	if got, err := visit(t, "tcp", l.Addr().String()); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a connection too many got %q, %v, want a reset", got, err)
	}
	far.bringing.Add(-stream.MaxStreams)
	if got, err := visit(t, "tcp", l.Addr().String()); err != nil || got != "hello" {
		t.Errorf("with room again: %q, %v", got, err)
	}
}
