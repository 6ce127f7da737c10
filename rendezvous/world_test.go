package rendezvous

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
)

// world is a running server and the way there.
type world struct {
	t      testing.TB
	key    *identity.Key
	server *Server
	dial   func(context.Context) (net.Conn, error)
	l      net.Listener
	v      *virtualListener // nil on real sockets
	served chan error
}

func (w *world) url() proto.ServerURL {
	addr := netip.MustParseAddrPort(w.l.Addr().String())
	return proto.ServerURL{Host: addr.Addr().String(), Port: addr.Port(), Key: w.key.ID()}
}

// loopback runs a server on a loopback socket.
func loopback(t testing.TB, cfg ServerConfig) *world {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := serve(t, cfg, l)
	w.dial = func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	}
	return w
}

// virtually runs f in a bubble with a server on virtual connections.
func virtually(t *testing.T, cfg ServerConfig, f func(*testing.T, *world)) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualListener()
		w := serve(t, cfg, v)
		w.v = v
		w.dial = v.dialer(path{from: netip.MustParseAddrPort("198.51.100.1:4000")})
		f(t, w)
	})
}

func serve(t testing.TB, cfg ServerConfig, l net.Listener) *world {
	if cfg.Key == nil {
		cfg.Key = identity.Generate()
	}
	if cfg.RestartGrace == 0 {
		cfg.RestartGrace = -1
	}
	w := &world{t: t, key: cfg.Key, server: NewServer(cfg), l: l, served: make(chan error, 1)}
	go func() { w.served <- w.server.Serve(l) }()
	t.Cleanup(func() {
		w.server.Close()
		if err := <-w.served; err != ErrServerClosed {
			t.Errorf("Serve returned %v", err)
		}
	})
	return w
}

// script is a client that does what the test says and nothing else.
type script struct {
	t        testing.TB
	key      *identity.Key
	instance proto.Token
	raw      net.Conn
	conn     *tls.Conn
}

// script connects a new identity up to the end of the TLS handshake.
func (w *world) script() *script { return w.scriptOn(w.connection(), identity.Generate()) }

func (w *world) scriptOn(raw net.Conn, key *identity.Key) *script {
	w.t.Helper()
	s := &script{t: w.t, key: key, instance: proto.NewToken(), raw: raw}
	s.conn = tls.Client(raw, key.ClientConfig(proto.ALPNServer, w.key.ID()))
	w.t.Cleanup(func() { raw.Close() })
	if err := s.conn.Handshake(); err != nil {
		w.t.Fatal(err)
	}
	return s
}

func (w *world) connection() net.Conn {
	w.t.Helper()
	raw, err := w.dial(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { raw.Close() })
	return raw
}

// registered connects and registers a new identity, and answers the first
// pings.
func (w *world) registered(p policy) *script {
	w.t.Helper()
	s := w.script()
	s.register(p)
	return s
}

func (s *script) register(p policy) *proto.Registered {
	s.t.Helper()
	s.send(&proto.Register{Instance: s.instance, PlanVersion: 1, Answers: p.answers, AnswersFor: p.answersFor})
	r := next[*proto.Registered](s)
	for range rttFirst - 1 { // the handshake is one
		s.send(&proto.Pong{N: next[*proto.Ping](s).N})
	}
	return r
}

func (s *script) send(m proto.Message) {
	s.t.Helper()
	if err := proto.Write(s.conn, m); err != nil {
		s.t.Fatalf("sending %v: %v", m.Type(), err)
	}
}

// next reads the next message, which has to be an M.
func next[M proto.Message](s *script) M {
	s.t.Helper()
	m, err := proto.Read(s.conn)
	if err != nil {
		s.t.Fatalf("reading where %T should come: %v", *new(M), err)
	}
	got, ok := m.(M)
	if !ok {
		s.t.Fatalf("got %v %+v, want %T", m.Type(), m, *new(M))
	}
	return got
}

// failed reads a Failure with the given code and then the end.
func (s *script) failed(code proto.Code) {
	s.t.Helper()
	if f := next[*proto.Failure](s); f.Code != code {
		s.t.Fatalf("failure %v (%s), want %v", f.Code, f.Text, code)
	}
	s.ended()
}

func (s *script) ended() {
	s.t.Helper()
	if m, err := proto.Read(s.conn); !errors.Is(err, io.EOF) {
		s.t.Fatalf("got %v, %v where the connection should end", m, err)
	}
	s.raw.Close()
}

// alive makes one round trip, which proves that everything before was handled.
func (s *script) alive() {
	s.t.Helper()
	s.send(&proto.Ping{N: 77})
	if p := next[*proto.Pong](s); p.N != 77 {
		s.t.Fatalf("pong %d", p.N)
	}
	s.send(&proto.Pong{N: next[*proto.Ping](s).N})
}

// closedByServer reports whether the server has closed a raw connection
// without a word.
func closedByServer(t testing.TB, raw net.Conn) {
	t.Helper()
	if n, err := raw.Read(make([]byte, 1)); n > 0 || err == nil || errors.Is(err, net.ErrClosed) {
		t.Fatalf("read %d bytes, %v where the server should have closed", n, err)
	}
}

// node is a Client that runs, with what it told.
type node struct {
	*Client
	key        *identity.Key
	states     chan State
	introduced chan Introduction
	stop       context.CancelFunc
	ran        chan error
}

// nodeConfig is the configuration of a client of w.
func (w *world) nodeConfig() ClientConfig {
	return ClientConfig{Server: w.url(), Key: identity.Generate(), Instance: proto.NewToken(), Dial: w.dial, Agent: "test"}
}

// node runs a client. It consents to everything unless cfg says otherwise.
func runNode(t testing.TB, cfg ClientConfig) *node {
	n := &node{key: cfg.Key, states: make(chan State, 1024), introduced: make(chan Introduction, 64), ran: make(chan error, 1)}
	cfg.State = func(s State) { n.states <- s }
	cfg.Introduced = func(in Introduction) { n.introduced <- in }
	if cfg.Offer == nil {
		cfg.Offer = func(proto.ID) ([]proto.Candidate, proto.Code) { return nil, proto.CodeOK }
	}
	n.Client = NewClient(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	n.stop = cancel
	go func() { n.ran <- n.Run(ctx); close(n.ran) }()
	t.Cleanup(func() {
		cancel()
		<-n.ran
	})
	return n
}

// await returns the next state that is registered, or that is not.
func (n *node) await(t testing.TB, registered bool) State {
	t.Helper()
	timeout := time.After(time.Minute)
	for {
		select {
		case s := <-n.states:
			if s.Registered == registered {
				return s
			}
		case <-timeout:
			t.Fatalf("no state with Registered = %v", registered)
		}
	}
}

func testLogger(t testing.TB) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}
