package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
)

const alpn = proto.ALPNPeer

var errStranger = errors.New("stranger")

func anybody(proto.ID) error { return nil }

func only(want proto.ID) func(proto.ID) error {
	return func(got proto.ID) error {
		if got != want {
			return errStranger
		}
		return nil
	}
}

// outcome is what both ends of one connection saw.
type outcome struct {
	client, server       *tls.Conn
	clientErr, serverErr error
}

// handshake connects a client and a server over TCP. Both ends are closed
// when the test ends.
func handshake(t *testing.T, client, server *tls.Config) outcome {
	t.Helper()
	c, s := tcpPair(t)
	o := outcome{client: tls.Client(c, client), server: tls.Server(s, server)}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if o.serverErr = o.server.HandshakeContext(ctx); o.serverErr != nil {
			o.server.NetConn().(*net.TCPConn).CloseWrite() // behind the alert
		}
	}()
	if o.clientErr = o.client.HandshakeContext(ctx); o.clientErr != nil {
		c.Close()
	}
	<-done
	return o
}

func tcpPair(t *testing.T) (dialled, accepted net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dialled, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialled.Close(); accepted.Close() })
	return dialled, accepted
}

func TestMutualHandshake(t *testing.T) {
	a, b := Generate(), Generate()
	o := handshake(t, a.ClientConfig(alpn, b.ID()), b.ServerConfig(alpn, only(a.ID())))
	if o.clientErr != nil || o.serverErr != nil {
		t.Fatalf("client: %v, server: %v", o.clientErr, o.serverErr)
	}
	proved(t, o.client, b.ID())
	proved(t, o.server, a.ID())
}

func proved(t *testing.T, c *tls.Conn, want proto.ID) {
	t.Helper()
	cs := c.ConnectionState()
	if got, err := PeerID(cs); err != nil || got != want {
		t.Errorf("PeerID: %s, %v, want %s", got.Short(), err, want.Short())
	}
	if cs.Version != tls.VersionTLS13 || cs.NegotiatedProtocol != alpn || cs.DidResume {
		t.Errorf("version %x, protocol %q, resumed %v", cs.Version, cs.NegotiatedProtocol, cs.DidResume)
	}
}

func TestExportersAgree(t *testing.T) {
	a, b := Generate(), Generate()
	o := handshake(t, a.ClientConfig(alpn, b.ID()), b.ServerConfig(alpn, nil))
	exporter := func(c *tls.Conn) string {
		cs := c.ConnectionState()
		e, err := cs.ExportKeyingMaterial(proto.ExporterLabel, nil, proto.ExporterSize)
		if err != nil {
			t.Fatal(err)
		}
		return string(e)
	}
	if exporter(o.client) != exporter(o.server) {
		t.Error("the ends export different keying material")
	}
}

func TestServerRefusesStranger(t *testing.T) {
	a, b := Generate(), Generate()
	o := handshake(t, a.ClientConfig(alpn, b.ID()), b.ServerConfig(alpn, only(Generate().ID())))
	if !errors.Is(o.serverErr, errStranger) {
		t.Errorf("server: %v", o.serverErr)
	}
	refusedLate(t, o)
}

// refusedLate checks the trap of TLS 1.3 that the package documents: the
// client learns of its refusal by reading.
func refusedLate(t *testing.T, o outcome) {
	t.Helper()
	if o.clientErr != nil {
		t.Errorf("client's handshake: %v", o.clientErr)
	}
	_, err := o.client.Read(make([]byte, 1))
	var alert *net.OpError
	if !errors.As(err, &alert) || alert.Op != "remote error" {
		t.Errorf("client's first read: %v, want the server's alert", err)
	}
}

// verify's error keeps its type, as does the mismatch that a verify of the
// accepting side reports.
func TestMismatchAtServer(t *testing.T) {
	a, b, want := Generate(), Generate(), Generate().ID()
	verify := func(got proto.ID) error { return &MismatchError{Want: want, Got: got} }
	o := handshake(t, a.ClientConfig(alpn, b.ID()), b.ServerConfig(alpn, verify))
	mismatch(t, o.serverErr, want, a.ID())
	refusedLate(t, o)
}

func TestMismatchAtClient(t *testing.T) {
	a, b, want := Generate(), Generate(), Generate().ID()
	o := handshake(t, a.ClientConfig(alpn, want), b.ServerConfig(alpn, anybody))
	mismatch(t, o.clientErr, want, b.ID())
	if o.serverErr == nil {
		t.Error("the server's handshake succeeded")
	}
}

func mismatch(t *testing.T, err error, want, got proto.ID) {
	t.Helper()
	m, ok := errors.AsType[*MismatchError](err)
	if !ok || m.Want != want || m.Got != got {
		t.Errorf("error is %v", err)
	}
}

func TestZeroIDMatchesNobody(t *testing.T) {
	a, b := Generate(), Generate()
	o := handshake(t, a.ClientConfig(alpn, proto.ID{}), b.ServerConfig(alpn, nil))
	mismatch(t, o.clientErr, proto.ID{}, b.ID())
}

func TestServerDemandsCertificate(t *testing.T) {
	a, b := Generate(), Generate()
	client := a.ClientConfig(alpn, b.ID())
	client.Certificates = nil
	o := handshake(t, client, b.ServerConfig(alpn, nil))
	if o.serverErr == nil {
		t.Error("a client without certificate was accepted")
	}
	refusedLate(t, o)
}

// A client that checks nothing itself meets the server's checks, and the other
// way round.
func TestProtocols(t *testing.T) {
	a, b := Generate(), Generate()
	for _, offered := range [][]string{nil, {proto.ALPNServer}, {"h2", "http/1.1"}} {
		client, server := a.ClientConfig(alpn, b.ID()), b.ServerConfig(alpn, nil)
		client.NextProtos, client.VerifyConnection = offered, nil
		o := handshake(t, client, server)
		if o.serverErr == nil || (offered == nil && !errors.Is(o.serverErr, ErrALPN)) {
			t.Errorf("client offers %q: server: %v", offered, o.serverErr)
		}

		client, server = a.ClientConfig(alpn, b.ID()), b.ServerConfig(alpn, nil)
		server.NextProtos, server.VerifyConnection = offered, nil
		o = handshake(t, client, server)
		if o.clientErr == nil || (offered == nil && !errors.Is(o.clientErr, ErrALPN)) {
			t.Errorf("server knows %q: client: %v", offered, o.clientErr)
		}
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	a, b := Generate(), Generate()
	for name, old := range map[string]func(client, server *tls.Config){
		"client": func(client, _ *tls.Config) { client.MinVersion, client.MaxVersion = tls.VersionTLS10, tls.VersionTLS12 },
		"server": func(_, server *tls.Config) { server.MinVersion, server.MaxVersion = tls.VersionTLS10, tls.VersionTLS12 },
	} {
		client, server := a.ClientConfig(alpn, b.ID()), b.ServerConfig(alpn, nil)
		old(client, server)
		if o := handshake(t, client, server); o.clientErr == nil || o.serverErr == nil {
			t.Errorf("old %s: client: %v, server: %v", name, o.clientErr, o.serverErr)
		}
	}
}

// foreign returns the self-signed certificate of a key that is not Ed25519.
func foreign(t *testing.T, key crypto.Signer) tls.Certificate {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func foreignCertificates(t *testing.T, own *Key) map[string]tls.Certificate {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	two := own.cert
	two.Certificate = [][]byte{own.cert.Certificate[0], Generate().cert.Certificate[0]}
	return map[string]tls.Certificate{"RSA": foreign(t, rsaKey), "ECDSA": foreign(t, ecKey), "two": two}
}

func TestForeignCertificates(t *testing.T) {
	a, b := Generate(), Generate()
	for name, cert := range foreignCertificates(t, a) {
		t.Run("client "+name, func(t *testing.T) {
			client := a.ClientConfig(alpn, b.ID())
			client.Certificates = []tls.Certificate{cert}
			o := handshake(t, client, b.ServerConfig(alpn, nil))
			if !errors.Is(o.serverErr, ErrCertificate) {
				t.Errorf("server: %v", o.serverErr)
			}
			refusedLate(t, o)
		})
	}
	for name, cert := range foreignCertificates(t, b) {
		t.Run("server "+name, func(t *testing.T) {
			server := b.ServerConfig(alpn, nil)
			server.Certificates = []tls.Certificate{cert}
			if o := handshake(t, a.ClientConfig(alpn, b.ID()), server); !errors.Is(o.clientErr, ErrCertificate) {
				t.Errorf("client: %v", o.clientErr)
			}
		})
	}
}

// A certificate can be copied by everybody; the handshake must fail without
// its key.
func TestStolenCertificate(t *testing.T) {
	a, b, thief := Generate(), Generate(), Generate()
	stolen := tls.Certificate{Certificate: a.cert.Certificate, PrivateKey: thief.private}
	client := thief.ClientConfig(alpn, b.ID())
	client.Certificates = []tls.Certificate{stolen}
	if o := handshake(t, client, b.ServerConfig(alpn, only(a.ID()))); o.serverErr == nil {
		t.Error("the server accepted a's certificate from somebody else")
	}
}

// Even a client that wants to resume gets no ticket.
func TestNoResumption(t *testing.T) {
	a, b := Generate(), Generate()
	client, server := a.ClientConfig(alpn, b.ID()), b.ServerConfig(alpn, nil)
	client.ServerName = "peer"
	client.SessionTicketsDisabled = false
	client.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	for range 2 {
		o := handshake(t, client, server)
		if o.clientErr != nil || o.serverErr != nil {
			t.Fatalf("client: %v, server: %v", o.clientErr, o.serverErr)
		}
		if _, err := o.server.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		if _, err := o.client.Read(make([]byte, 1)); err != nil { // reads tickets, too
			t.Fatal(err)
		}
		if o.client.ConnectionState().DidResume {
			t.Error("the connection was resumed")
		}
	}
}

func TestPeerIDWithoutHandshake(t *testing.T) {
	if _, err := PeerID(tls.ConnectionState{}); !errors.Is(err, ErrCertificate) {
		t.Errorf("error is %v", err)
	}
}

func TestPeerIDOfZeroKey(t *testing.T) {
	cert := &x509.Certificate{PublicKey: proto.ID{}.PublicKey()}
	if _, err := PeerID(tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}); !errors.Is(err, ErrCertificate) {
		t.Errorf("error is %v", err)
	}
}

func TestOneKeyHasOneCertificate(t *testing.T) {
	k := Generate()
	if again := newKey(k.private); string(again.cert.Certificate[0]) != string(k.cert.Certificate[0]) {
		t.Error("two certificates of one key differ")
	}
}
