package peer

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
)

func TestListenTakesGoodNames(t *testing.T) {
	n, err := New(Config{Key: identity.Generate(), Server: proto.ServerURL{Host: "127.0.0.1", Port: 1, Key: proto.ID{1}}, Expose: map[string]string{"exposed": "127.0.0.1:1"}})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	first, err := n.Listen(t.Context(), "name")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "exposed", "name", "line\nfeed", strings.Repeat("x", proto.MaxTarget+1)} {
		if _, err := n.Listen(t.Context(), name); err == nil {
			t.Errorf("listening for %q: no error", name)
		}
	}
	if got, want := first.Addr().String(), n.ID().String()+":name"; got != want {
		t.Errorf("address %s, want %s", got, want)
	}
	first.Close()
	first.Close()
	if _, err := first.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept of a closed listener: %v, want net.ErrClosed", err)
	}
	second, err := n.Listen(t.Context(), "name")
	if err != nil {
		t.Fatalf("listening for a name that was given back: %v", err)
	}
	first.Close() // is not the second
	if n.service("name") != second {
		t.Error("closing a closed listener took another's name")
	}
	n.Close()
	if _, err := second.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept after the node's Close: %v, want net.ErrClosed", err)
	}
	if _, err := n.Listen(t.Context(), "other"); !errors.Is(err, ErrClosed) {
		t.Errorf("listening on a closed node: %v, want ErrClosed", err)
	}
}

// Streams that nobody has accepted yet end with the listener; those that were
// accepted go on.
func TestListenerCloses(t *testing.T) {
	url := startServer(t)
	key := identity.Generate()
	b := startNode(t, Config{Server: url, Answer: true, Allow: []proto.ID{key.ID()}})
	a := startNode(t, Config{Server: url, Key: key, Names: map[string]proto.ID{"b": b.ID()}})
	l := listen(t, b, "service")
	ctx := within(t, 10*time.Second)
	accepted, err := a.DialContext(ctx, "tcp", "b:service")
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	if id, ok := IDOf(server); !ok || id != a.ID() {
		t.Errorf("the accepted connection is from %v, %v", id, ok)
	}
	waiting, err := a.Dial(ctx, b.ID(), "service")
	if err != nil {
		t.Fatal(err)
	}
	if err := waiting.Opened(); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if _, err := io.ReadAll(waiting); !errors.Is(err, ErrAborted) {
		t.Errorf("a stream that was not accepted: %v, want it aborted", err)
	}
	if got := outcome(t, a, b.ID(), "service"); got != proto.CodeNotExposed {
		t.Errorf("the service of a closed listener: %v", got)
	}
	go func() { server.Write([]byte("bye")); server.Close() }()
	if got, err := io.ReadAll(accepted); err != nil || string(got) != "bye" {
		t.Errorf("the accepted stream: %q, %v", got, err)
	}
}

// The listener does what net/http expects of one.
func TestHTTPServerOnListener(t *testing.T) {
	url := startServer(t)
	key := identity.Generate()
	b := startNode(t, Config{Server: url, Answer: true, Allow: []proto.ID{key.ID()}})
	a := startNode(t, Config{Server: url, Key: key})
	began, finish := make(chan struct{}), make(chan struct{})
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(began)
		<-finish
		io.WriteString(w, "hello "+r.RemoteAddr)
	})}
	served := make(chan error, 1)
	l := listen(t, b, "80")
	go func() { served <- server.Serve(l) }()
	transport := &http.Transport{DialContext: a.DialContext}
	defer transport.CloseIdleConnections()
	body := make(chan string, 1)
	go func() {
		resp, err := (&http.Client{Transport: transport}).Get("http://" + b.ID().String())
		if err != nil {
			t.Error(err)
			close(body)
			return
		}
		defer resp.Body.Close()
		got, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Error(err)
		}
		body <- string(got)
	}()
	<-began
	down := make(chan error, 1)
	go func() { down <- server.Shutdown(within(t, 10*time.Second)) }()
	if err := <-served; err != http.ErrServerClosed {
		t.Errorf("Serve: %v, want http.ErrServerClosed", err)
	}
	close(finish)
	if got, want := <-body, "hello "+a.ID().String(); got != want {
		t.Errorf("the request that was under way got %q, want %q", got, want)
	}
	if err := <-down; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

func TestDialContextChecksAddresses(t *testing.T) {
	n := startNode(t, Config{Server: startServer(t), Names: map[string]proto.ID{"self": {1}}})
	var unknown net.UnknownNetworkError
	if _, err := n.DialContext(t.Context(), "udp", "self:22"); !errors.As(err, &unknown) {
		t.Errorf("network udp: %v", err)
	}
	for _, address := range []string{"self", "self:", ""} {
		var addr *net.AddrError
		if _, err := n.DialContext(t.Context(), "tcp", address); !errors.As(err, &addr) {
			t.Errorf("address %q: %v, want a net.AddrError", address, err)
		}
	}

	for _, address := range []string{"nobody:22", ":22", n.ID().String() + "a:22"} {
		c, err := n.DialContext(t.Context(), "tcp", address)
		if !errors.Is(err, ErrUnknownPeer) || c != nil {
			t.Errorf("address %q: %v, %v, want ErrUnknownPeer", address, c, err)
		}
	}
	if c, err := n.DialContext(within(t, 10*time.Second), "tcp", "self:[::1]:22"); !errors.Is(err, ErrOffline) || c != nil {
		t.Errorf("a peer that is not there: %v, %v, want ErrOffline", c, err)
	}
}
