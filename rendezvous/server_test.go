package rendezvous

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
)

func TestRegistration(t *testing.T) {
	w := loopback(t, ServerConfig{ProbePorts: []uint16{7879, 7880}})
	s := w.script()
	r := s.register(answersNo)
	want := proto.NewCandidate(netip.MustParseAddrPort(s.raw.LocalAddr().String()), proto.Observed, 65535)
	if r.Observed != want || !slices.Equal(r.ProbePorts, []uint16{7879, 7880}) {
		t.Errorf("registered as %+v, want %v", r, want)
	}
	s.alive()
}

func TestReplacement(t *testing.T) {
	w := loopback(t, ServerConfig{})
	old := w.registered(answersAll)
	again := w.scriptOn(w.connection(), old.key)
	again.instance = old.instance
	again.register(answersAll)
	old.failed(proto.CodeReplaced)

	a := w.registered(answersNo)
	a.send(&proto.Introduce{Request: 1, Peer: old.key.ID()})
	next[*proto.Offer](again)
}

func TestInstancesCoexist(t *testing.T) {
	w := loopback(t, ServerConfig{})
	daemon := w.registered(answersAll)
	command := w.scriptOn(w.connection(), daemon.key)
	command.register(answersNo)
	daemon.alive()
	command.alive()
}

func TestIntroductionOverSockets(t *testing.T) {
	w := loopback(t, ServerConfig{})
	a, b := w.registered(answersNo), w.registered(answersAll)
	a.alive() // the server has both first pongs
	b.alive()
	a.send(&proto.Introduce{Request: 3, Peer: b.key.ID()})
	o := next[*proto.Offer](b)
	b.send(&proto.Answer{Introduction: o.Introduction, Accept: true})
	forA, forB := next[*proto.Introduction](a), next[*proto.Introduction](b)
	if forA.Request != 3 || forB.Request != 0 || forA.Secret != forB.Secret || !bytes.Equal(forA.Transcript, forB.Transcript) {
		t.Errorf("introductions\n%+v\n%+v", forA, forB)
	}
	tr, err := proto.ParseTranscript(forA.Transcript)
	if err != nil {
		t.Fatal(err)
	}
	if tr.Initiator.RTT == 0 || tr.Responder.RTT == 0 || tr.Initiator.RTT > 1e6 {
		t.Errorf("round trips %d and %d µs", tr.Initiator.RTT, tr.Responder.RTT)
	}
}

func TestRoundTripIsThatOfThePath(t *testing.T) {
	virtually(t, ServerConfig{}, func(t *testing.T, w *world) {
		far := w.v.dialer(path{from: netip.MustParseAddrPort("198.51.100.1:1"), latency: 120 * time.Millisecond})
		near := w.v.dialer(path{from: netip.MustParseAddrPort("198.51.100.2:1"), latency: 10 * time.Millisecond})
		cfg := w.nodeConfig()
		cfg.Dial = far
		a := runNode(t, cfg)
		cfg = w.nodeConfig()
		cfg.Dial, cfg.Answers = near, true
		b := runNode(t, cfg)
		a.await(t, true)
		b.await(t, true)
		in, err := a.Introduce(t.Context(), b.key.ID(), nil) // asks before the server has its first pong
		if err != nil {
			t.Fatal(err)
		}
		got := <-b.introduced
		if tr := in.Transcript; tr.Initiator.RTT != 240_000 || tr.Responder.RTT != 20_000 {
			t.Errorf("round trips %d and %d µs", tr.Initiator.RTT, tr.Responder.RTT)
		}
		// Each received it half its round trip after it was sent.
		if d := in.Received.Sub(got.Received); d != 110*time.Millisecond {
			t.Errorf("received %v apart", d)
		}
	})
}

func TestProtocolViolations(t *testing.T) {
	instance := proto.NewToken()
	frame := func(m proto.Message) []byte {
		b, err := proto.Append(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	register := frame(&proto.Register{Instance: instance, PlanVersion: 1})
	tooLarge := []byte{proto.Version, byte(proto.TypePing), 0xff, 0xff}
	for _, test := range []struct {
		name   string
		frames []byte
	}{
		{"ping first", frame(&proto.Ping{N: 1})},
		{"unknown first", []byte{proto.Version, 0x99, 0, 0}},
		{"empty registration", []byte{proto.Version, byte(proto.TypeRegister), 0, 1, 0xa0}},
		{"other version", []byte{proto.Version + 1, byte(proto.TypeRegister), 0, 1, 0xa0}},
		{"too large", tooLarge},
		{"too large later", append(slices.Clone(register), tooLarge...)},
		{"garbage later", append(slices.Clone(register), proto.Version, byte(proto.TypePing), 0, 1, 0xff)},
		{"second instance", append(slices.Clone(register), frame(&proto.Register{Instance: proto.NewToken(), PlanVersion: 1})...)},
		{"a server's message", append(slices.Clone(register), frame(&proto.Declined{Request: 1, Code: proto.CodeBusy})...)},
		{"a peer's message", append(slices.Clone(register), frame(&proto.Open{Target: "22"})...)},
		{"unknown, not ignorable", append(slices.Clone(register), proto.Version, 0x7f, 0, 0)},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := loopback(t, ServerConfig{})
			s := w.script()
			if _, err := s.conn.Write(test.frames); err != nil {
				t.Fatal(err)
			}
			if bytes.HasPrefix(test.frames, register) {
				next[*proto.Registered](s)
				next[*proto.Ping](s)
			}
			s.failed(proto.CodeProtocol)
			w.registered(answersNo).alive()
		})
	}
}

func TestIgnorableMessages(t *testing.T) {
	w := loopback(t, ServerConfig{})
	s := w.registered(answersNo)
	if _, err := s.conn.Write([]byte{proto.Version, 0x80, 0, 3, 1, 2, 3}); err != nil {
		t.Fatal(err)
	}
	s.send(&proto.Pong{N: 999}) // of no ping
	s.send(&proto.Answer{Introduction: proto.NewToken(), Accept: true})
	s.alive()
}

func TestClientThatSaysWhyItLeaves(t *testing.T) {
	w := loopback(t, ServerConfig{})
	s := w.registered(answersNo)
	s.send(&proto.Failure{Code: proto.CodeShutdown})
	s.ended()
}

// Whoever takes longer than allowed is let go, at exactly that time.
func TestDeadlines(t *testing.T) {
	clientHello := func(w *world) []byte {
		ours, theirs := net.Pipe()
		defer ours.Close()
		defer theirs.Close()
		go tls.Client(theirs, identity.Generate().ClientConfig(proto.ALPNServer, w.key.ID())).Handshake()
		b := make([]byte, 4096)
		n, _ := ours.Read(b)
		return b[:n]
	}
	for _, test := range []struct {
		name string
		do   func(w *world, raw net.Conn)
		want time.Duration
	}{
		{"no byte", func(*world, net.Conn) {}, firstByteTimeout},
		{"one byte of TLS", func(_ *world, raw net.Conn) { raw.Write([]byte{recordHandshake}) }, handshakeTimeout},
		{"half a ClientHello", func(w *world, raw net.Conn) {
			hello := clientHello(w)
			raw.Write(hello[:len(hello)/2])
		}, handshakeTimeout},
		{"byte by byte", func(w *world, raw net.Conn) {
			for _, b := range clientHello(w) {
				if _, err := raw.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(99 * time.Millisecond) // the 51st comes too late
			}
		}, 51 * 99 * time.Millisecond},
		{"no registration", func(w *world, raw net.Conn) { w.scriptOn(raw, identity.Generate()) }, registerTimeout},
		{"half a STUN header", func(_ *world, raw net.Conn) { raw.Write(make([]byte, 10)) }, stunIdle},
		{"silence", func(w *world, raw net.Conn) { w.scriptOn(raw, identity.Generate()).register(answersNo) }, proto.ServerIdle},
	} {
		t.Run(test.name, func(t *testing.T) {
			virtually(t, ServerConfig{}, func(t *testing.T, w *world) {
				raw := w.connection()
				begin := time.Now()
				test.do(w, raw)
				io.Copy(io.Discard, raw)
				if took := time.Since(begin); took != test.want {
					t.Errorf("closed after %v, want %v", took, test.want)
				}
			})
		})
	}
}

// Whatever strangers send, they are turned away and clients notice nothing.
func TestGarbage(t *testing.T) {
	random := make([]byte, 4096)
	rand.Read(random)
	for _, test := range []struct {
		name string
		data []byte
	}{
		{"random bytes", append([]byte{0xff}, random...)},
		{"random STUN", append([]byte{0x00, 0x01}, random...)},
		{"random TLS", append([]byte{recordHandshake, 3, 1}, random...)},
		{"HTTP", []byte("GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")},
		{"ssh", []byte("SSH-2.0-OpenSSH_9.9\r\n")},
		{"preamble", []byte("\xf0prd\x01\x01\x00\x00")},
		{"oversized STUN", []byte{0, 1, 0xff, 0xfc, 0x21, 0x12, 0xa4, 0x42, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := loopback(t, ServerConfig{Logger: testLogger(t)})
			probe, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			go w.server.ServeProbe(probe)
			client := w.registered(answersNo)
			for _, addr := range []string{w.l.Addr().String(), probe.Addr().String()} {
				for _, half := range []bool{false, true} {
					raw, err := net.Dial("tcp", addr)
					if err != nil {
						t.Fatal(err)
					}
					data := test.data
					if half {
						data = data[:min(len(data)/2, 10)]
					}
					raw.Write(data)
					raw.(*net.TCPConn).CloseWrite()
					io.Copy(io.Discard, raw) // a TLS alert at most
					raw.Close()
				}
			}
			client.alive()
		})
	}
}

func TestProbePortTakesNoRegistrations(t *testing.T) {
	w := loopback(t, ServerConfig{})
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go w.server.ServeProbe(probe)
	raw, err := net.Dial("tcp", probe.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	if err := tls.Client(raw, identity.Generate().ClientConfig(proto.ALPNServer, w.key.ID())).Handshake(); err == nil {
		t.Error("TLS on a probe port")
	}
}

func TestServerRefusesOtherProtocols(t *testing.T) {
	w := loopback(t, ServerConfig{})
	raw := w.connection()
	conn := tls.Client(raw, identity.Generate().ClientConfig(proto.ALPNPeer, w.key.ID()))
	if err := conn.Handshake(); err == nil {
		t.Error("a peer's handshake with a server succeeded")
	}
}

// A client that never reads is dropped, and nobody waits for it meanwhile.
func TestStalledClient(t *testing.T) {
	virtually(t, ServerConfig{}, func(t *testing.T, w *world) {
		raw, err := w.v.dial(path{from: netip.MustParseAddrPort("198.51.100.9:1"), buffer: 4096})
		if err != nil {
			t.Fatal(err)
		}
		stalled := w.scriptOn(raw, identity.Generate())
		stalled.register(answersAll)
		a, b := w.registered(answersNo), w.registered(answersAll)

		begin := time.Now()
		go func() { // fills its own path with pongs that it does not read
			for n := uint64(0); proto.Write(stalled.conn, &proto.Ping{N: n}) == nil; n++ {
			}
		}()
		a.send(&proto.Introduce{Request: 2, Peer: b.key.ID()})
		b.send(&proto.Answer{Introduction: next[*proto.Offer](b).Introduction, Accept: true})
		next[*proto.Introduction](b)
		next[*proto.Introduction](a)
		if waited := time.Since(begin); waited > 0 {
			t.Errorf("others waited %v for the stalled client", waited)
		}
		time.Sleep(stallTimeout)
		a.send(&proto.Introduce{Request: 1, Peer: stalled.key.ID()})
		if d := next[*proto.Declined](a); d.Code != proto.CodeOffline {
			t.Errorf("declined with %v", d.Code)
		}
	})
}

// The same without flooding: what is sent to it does not leave, and the write
// deadline ends it.
func TestStalledWrite(t *testing.T) {
	virtually(t, ServerConfig{}, func(t *testing.T, w *world) {
		raw, err := w.v.dial(path{from: netip.MustParseAddrPort("198.51.100.9:1"), buffer: 300})
		if err != nil {
			t.Fatal(err)
		}
		stalled := w.scriptOn(raw, identity.Generate())
		stalled.register(answersAll)
		begin := time.Now()
		stalled.stuff()
		stalled.raw.(*virtualConn).out.awaitReaderGone()
		if took := time.Since(begin); took != stallTimeout {
			t.Errorf("dropped after %v", took)
		}
	})
}

// stuff has the server send more than 300 bytes and less than would overflow
// its queue.
func (s *script) stuff() {
	for n := range uint64(20) { // each is answered with two messages
		s.send(&proto.Ping{N: n})
		synctest.Wait()
	}
}

// A client that sends faster than messageRate is read more slowly.
func TestPace(t *testing.T) {
	virtually(t, ServerConfig{}, func(t *testing.T, w *world) {
		s := w.registered(answersNo)
		begin := time.Now()
		const extra = 100
		for range messageBurst + extra {
			s.send(&proto.Pong{N: 12345})
		}
		s.alive()
		want := extra * time.Second / messageRate
		if took := time.Since(begin); took < want-20*time.Millisecond || took > want+20*time.Millisecond {
			t.Errorf("took %v, want about %v", took, want)
		}
	})
}

func TestLimits(t *testing.T) {
	elsewhere := path{from: netip.MustParseAddrPort("198.51.100.77:1")}
	t.Run("clients", func(t *testing.T) {
		virtually(t, ServerConfig{MaxClients: 2}, func(t *testing.T, w *world) {
			first := w.registered(answersNo)
			w.registered(answersNo)
			third := w.script()
			third.send(&proto.Register{Instance: proto.NewToken(), PlanVersion: 1})
			third.failed(proto.CodeBusy)
			again := w.scriptOn(w.connection(), first.key) // replaces, needs no room
			again.instance = first.instance
			again.register(answersNo)
		})
	})
	t.Run("clients of one address", func(t *testing.T) {
		virtually(t, ServerConfig{MaxClientsPerAddress: 1}, func(t *testing.T, w *world) {
			w.registered(answersNo)
			second := w.script()
			second.send(&proto.Register{Instance: proto.NewToken(), PlanVersion: 1})
			second.failed(proto.CodeBusy)
			raw, _ := w.v.dial(elsewhere)
			w.scriptOn(raw, identity.Generate()).register(answersNo)
		})
	})
	t.Run("instances", func(t *testing.T) {
		virtually(t, ServerConfig{MaxInstances: 1}, func(t *testing.T, w *world) {
			first := w.registered(answersNo)
			second := w.scriptOn(w.connection(), first.key)
			second.send(&proto.Register{Instance: proto.NewToken(), PlanVersion: 1})
			second.failed(proto.CodeBusy)
			first.raw.Close()
			synctest.Wait()
			w.scriptOn(w.connection(), first.key).register(answersNo)
		})
	})
	t.Run("pending", func(t *testing.T) {
		virtually(t, ServerConfig{MaxPending: 8}, func(t *testing.T, w *world) {
			w.connection()
			w.connection() // a quarter
			closedByServer(t, w.connection())
			raw, _ := w.v.dial(elsewhere)
			w.scriptOn(raw, identity.Generate()).register(answersNo)
			time.Sleep(firstByteTimeout)
			synctest.Wait()
			w.registered(answersNo)
		})
	})
	t.Run("STUN", func(t *testing.T) {
		virtually(t, ServerConfig{MaxSTUN: 4}, func(t *testing.T, w *world) {
			first := w.connection()
			if _, err := Binding(t.Context(), first); err != nil {
				t.Fatal(err)
			}
			if _, err := Binding(t.Context(), w.connection()); err == nil {
				t.Error("second connection answered")
			}
			first.Close()
			synctest.Wait()
			if _, err := Binding(t.Context(), w.connection()); err != nil {
				t.Error(err)
			}
			w.registered(answersNo)
		})
	})
	t.Run("connection rate", func(t *testing.T) {
		virtually(t, ServerConfig{ConnectionRate: 1, ConnectionBurst: 2}, func(t *testing.T, w *world) {
			w.registered(answersNo)
			w.registered(answersNo)
			closedByServer(t, w.connection())
			raw, _ := w.v.dial(elsewhere)
			w.scriptOn(raw, identity.Generate()).register(answersNo)
			time.Sleep(time.Second)
			synctest.Wait()
			w.registered(answersNo)
		})
	})
	t.Run("none", func(t *testing.T) {
		virtually(t, ServerConfig{MaxClients: -1, MaxClientsPerAddress: -1, MaxInstances: -1, MaxPending: -1, MaxSTUN: -1,
			ConnectionRate: -1, IntroductionRate: -1}, func(t *testing.T, w *world) {
			for range 5 {
				w.registered(answersNo)
			}
		})
	})
}

func TestShutdown(t *testing.T) {
	w := loopback(t, ServerConfig{})
	clients := []*script{w.registered(answersNo), w.registered(answersAll)}
	idle, stun := w.connection(), w.connection()
	if _, err := Binding(t.Context(), stun); err != nil {
		t.Fatal(err)
	}
	down := make(chan error)
	go func() { down <- w.server.Shutdown(t.Context()) }()
	for _, c := range clients {
		c.failed(proto.CodeShutdown)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
	closedByServer(t, idle)
	closedByServer(t, stun)
	if raw, err := w.dial(t.Context()); err == nil {
		raw.Close()
		t.Error("still listening")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := w.server.ServeProbe(l); err != ErrServerClosed {
		t.Errorf("ServeProbe after Shutdown returned %v", err)
	}
	if err := w.server.Shutdown(t.Context()); err != nil {
		t.Errorf("second Shutdown: %v", err)
	}
}

// A client that neither reads nor closes does not hold Shutdown up for longer
// than its context.
func TestShutdownWithStalledClient(t *testing.T) {
	for _, test := range []struct {
		name    string
		timeout time.Duration
		buffer  int
		want    time.Duration
		err     error
	}{
		{"impatient", 500 * time.Millisecond, 300, 500 * time.Millisecond, context.DeadlineExceeded},
		{"does not read", time.Minute, 300, stallTimeout, nil},
		{"does not close", time.Minute, 4096, lingerTimeout, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			virtually(t, ServerConfig{}, func(t *testing.T, w *world) {
				raw, _ := w.v.dial(path{from: netip.MustParseAddrPort("198.51.100.9:1"), buffer: test.buffer})
				s := w.scriptOn(raw, identity.Generate())
				s.register(answersNo)
				s.stuff()
				ctx, cancel := context.WithTimeout(t.Context(), test.timeout)
				defer cancel()
				begin := time.Now()
				if err := w.server.Shutdown(ctx); !errors.Is(err, test.err) {
					t.Errorf("Shutdown returned %v", err)
				}
				if took := time.Since(begin); took != test.want {
					t.Errorf("took %v, want %v", took, test.want)
				}
			})
		})
	}
}

// failingListener fails to accept a few times, as one does when the process
// runs out of file descriptors.
type failingListener struct {
	net.Listener
	failures int
	err      error
}

type passingError struct{ error }

func (passingError) Temporary() bool { return true }

func (l *failingListener) Accept() (net.Conn, error) {
	if l.failures > 0 {
		l.failures--
		return nil, l.err
	}
	return l.Listener.Accept()
}

func TestAcceptErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVirtualListener()
		w := serve(t, ServerConfig{}, &failingListener{v, 20, passingError{errors.New("too many open files")}})
		w.dial = v.dialer(path{from: netip.MustParseAddrPort("198.51.100.1:4000")})
		w.registered(answersNo)

		broken := errors.New("broken")
		if err := w.server.Serve(&failingListener{newVirtualListener(), 1, broken}); err != broken {
			t.Errorf("Serve returned %v", err)
		}
		stuck := make(chan error)
		go func() {
			stuck <- w.server.Serve(&failingListener{newVirtualListener(), 1 << 30, passingError{broken}})
		}()
		time.Sleep(10 * time.Second)
		w.server.Close()
		if err := <-stuck; err != ErrServerClosed {
			t.Errorf("Serve returned %v", err)
		}
	})
}

func TestNewServerPanics(t *testing.T) {
	for name, cfg := range map[string]ServerConfig{
		"no key":       {},
		"probe port 0": {Key: identity.Generate(), ProbePorts: []uint16{0}},
		"too many":     {Key: identity.Generate(), ProbePorts: make([]uint16, proto.MaxProbePorts+1)},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			NewServer(cfg)
		}()
	}
}
