package peer

import (
	"errors"
	"io"
	"maps"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
)

// rules are an Authorize that a test changes.
type rules struct {
	mu     sync.Mutex
	grants map[proto.ID]Grant
}

func (r *rules) set(id proto.ID, g Grant) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.grants = maps.Clone(r.grants)
	if r.grants == nil {
		r.grants = make(map[proto.ID]Grant)
	}
	r.grants[id] = g
}

func (r *rules) deny(id proto.ID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.grants, id)
}

func (r *rules) authorize(id proto.ID) (Grant, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	g, ok := r.grants[id]
	return g, ok
}

// outcome says what a peer gets that opens a target: an answer to "hello", or
// the code of a refusal.
func outcome(t *testing.T, n *Node, id proto.ID, target string) proto.Code {
	t.Helper()
	s, err := n.Dial(within(t, 10*time.Second), id, target)
	if err != nil {
		t.Fatalf("dialling %q: %v", target, err)
	}
	defer s.Close()
	s.Write([]byte("hello"))
	s.CloseWrite()
	got, err := io.ReadAll(s)
	var refused *RefusedError
	if errors.As(err, &refused) {
		return refused.Code
	}
	if err != nil || string(got) != "hello" {
		t.Fatalf("target %q answered %q, %v", target, got, err)
	}
	return proto.CodeOK
}

// echoOn sends back what comes through a listener, until it is closed.
func echoOn(t *testing.T, l net.Listener) {
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
}

func listen(t *testing.T, n *Node, name string) net.Listener {
	t.Helper()
	l, err := n.Listen(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// What a peer may open follows from its Grant of the moment, over one session.
func TestGrants(t *testing.T) {
	var r rules
	key := identity.Generate()
	r.set(key.ID(), Grant{})
	url := startServer(t)
	b := startNode(t, Config{Server: url, Answer: true, Authorize: r.authorize, Expose: map[string]string{"echo": startEcho(t)}})
	echoOn(t, listen(t, b, "service"))
	a := startNode(t, Config{Server: url, Key: key})
	session, err := a.Connect(within(t, 10*time.Second), b.ID())
	if err != nil {
		t.Fatal(err)
	}
	const ok, hidden = proto.CodeOK, proto.CodeNotExposed
	for _, test := range []struct {
		name          string
		grant         Grant
		echo, service proto.Code
	}{
		{"everything offered", Grant{}, ok, ok},
		{"nothing", Grant{Open: []string{}}, hidden, hidden},
		{"the target", Grant{Open: []string{"echo"}}, ok, hidden},
		{"the service", Grant{Open: []string{"service"}}, hidden, ok},
		{"what is not there", Grant{Open: []string{"22"}}, hidden, hidden},
	} {
		t.Run(test.name, func(t *testing.T) {
			r.set(key.ID(), test.grant)
			if got := outcome(t, a, b.ID(), "echo"); got != test.echo {
				t.Errorf("target: %v, want %v", got, test.echo)
			}
			if got := outcome(t, a, b.ID(), "service"); got != test.service {
				t.Errorf("service: %v, want %v", got, test.service)
			}
		})
	}
	if again, err := a.Connect(t.Context(), b.ID()); err != nil || again != session {
		t.Errorf("another session: %v", err)
	}
}

// Whoever is denied keeps what it has, and gets nothing more.
func TestDenyDuringSession(t *testing.T) {
	var r rules
	key := identity.Generate()
	r.set(key.ID(), Grant{})
	url := startServer(t)
	b := startNode(t, Config{Server: url, Answer: true, Authorize: r.authorize, Expose: map[string]string{"echo": startEcho(t)}})
	a := startNode(t, Config{Server: url, Key: key})
	before, err := a.Dial(within(t, 10*time.Second), b.ID(), "echo")
	if err != nil {
		t.Fatal(err)
	}
	if err := before.Opened(); err != nil {
		t.Fatal(err)
	}
	r.deny(key.ID())
	if got := outcome(t, a, b.ID(), "echo"); got != proto.CodeNotAuthorised {
		t.Errorf("a denied peer opens a target: %v", got)
	}
	before.Write([]byte("still here"))
	before.CloseWrite()
	if got, err := io.ReadAll(before); err != nil || string(got) != "still here" {
		t.Errorf("the stream from before: %q, %v", got, err)
	}
}

// Entries of permit-open reach beyond what is exposed, and no further.
func TestGrantOfAddresses(t *testing.T) {
	var r rules
	key := identity.Generate()
	addr, hidden := startEcho(t), startEcho(t)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	r.set(key.ID(), Grant{Open: []string{port}})
	url := startServer(t)
	b := startNode(t, Config{Server: url, Answer: true, Authorize: r.authorize, Expose: map[string]string{"hidden": hidden}})
	a := startNode(t, Config{Server: url, Key: key})
	for target, want := range map[string]proto.Code{
		port: proto.CodeOK, addr: proto.CodeOK, hidden: proto.CodeNotExposed, "hidden": proto.CodeNotExposed, "unix:/x": proto.CodeNotExposed,
	} {
		if got := outcome(t, a, b.ID(), target); got != want {
			t.Errorf("target %s: %v, want %v", target, got, want)
		}
	}
}

func TestAllowAndAuthorizeAddUp(t *testing.T) {
	var r rules
	key := identity.Generate()
	r.set(key.ID(), Grant{Open: []string{"elsewhere"}})
	url := startServer(t)
	b := startNode(t, Config{Server: url, Answer: true, Allow: []proto.ID{key.ID()}, Authorize: r.authorize, Expose: map[string]string{"echo": startEcho(t)}})
	a := startNode(t, Config{Server: url, Key: key})
	if got := outcome(t, a, b.ID(), "echo"); got != proto.CodeOK {
		t.Errorf("a peer that Allow and Authorize name: %v", got)
	}
}
