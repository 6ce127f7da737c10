package identity

import (
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"fmt"

	"github.com/peerd/peerd/proto"
)

// Errors of the handshake and of PeerID.
var (
	// ErrCertificate means that the other end showed anything but exactly one
	// certificate with an Ed25519 key.
	ErrCertificate = errors.New("the other end has no peerd certificate")
	// ErrALPN means that the other end did not agree to the expected
	// application protocol: it is something else than a peer or a server.
	ErrALPN = errors.New("the other end does not speak the expected protocol")
)

// MismatchError means that the other end of a connection proved another ID
// than the one that was dialled.
type MismatchError struct {
	Want, Got proto.ID
}

// Error implements error.
func (e *MismatchError) Error() string {
	return fmt.Sprintf("the other end proved to be %s, not %s", e.Got, e.Want)
}

// ServerConfig returns a configuration for the accepting side of a connection:
// TLS 1.3 only, under the application protocol alpn, with a certificate
// demanded of the client. The handshake fails with the error of verify if that
// refuses the client's ID; a nil verify accepts every ID that is proven.
//
// The configuration is safe for use by many connections; verify is called
// concurrently then.
func (k *Key) ServerConfig(alpn string, verify func(proto.ID) error) *tls.Config {
	c := k.config(alpn, verify)
	c.ClientAuth = tls.RequireAnyClientCert
	return c
}

// ClientConfig returns a configuration for the dialling side of a connection.
// The handshake fails with a *MismatchError unless the server proves want.
//
// A client's Handshake returns before the server has judged the client; see
// the package's documentation.
func (k *Key) ClientConfig(alpn string, want proto.ID) *tls.Config {
	c := k.config(alpn, func(got proto.ID) error {
		if got != want {
			return &MismatchError{Want: want, Got: got}
		}
		return nil
	})
	// No authority signs these certificates. VerifyConnection compares the key
	// itself, which is stricter.
	c.InsecureSkipVerify = true
	return c
}

func (k *Key) config(alpn string, verify func(proto.ID) error) *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{k.cert},
		MinVersion:   tls.VersionTLS13,
		NextProtos:   []string{alpn},
		// A resumed connection would outlive the key's removal from a list.
		SessionTicketsDisabled: true,
		// Not VerifyPeerCertificate, which resumption skips.
		VerifyConnection: func(cs tls.ConnectionState) error {
			return verifyConnection(cs, alpn, verify)
		},
	}
}

func verifyConnection(cs tls.ConnectionState, alpn string, verify func(proto.ID) error) error {
	// A client or server that offers no protocol at all is not refused by
	// crypto/tls itself.
	if cs.NegotiatedProtocol != alpn {
		return fmt.Errorf("%w %s", ErrALPN, alpn)
	}
	id, err := PeerID(cs)
	if err != nil || verify == nil {
		return err
	}
	return verify(id)
}

// PeerID returns the ID that the other end of a connection proved. It fails
// with an error that wraps ErrCertificate before the handshake has completed
// and on connections that were made without this package's configurations.
func PeerID(cs tls.ConnectionState) (proto.ID, error) {
	if n := len(cs.PeerCertificates); n != 1 {
		return proto.ID{}, fmt.Errorf("%w: %d certificates", ErrCertificate, n)
	}
	key, ok := cs.PeerCertificates[0].PublicKey.(ed25519.PublicKey)
	if !ok {
		return proto.ID{}, fmt.Errorf("%w: its key is %s", ErrCertificate, cs.PeerCertificates[0].PublicKeyAlgorithm)
	}
	id := proto.IDOf(key)
	// The zero ID is a point of order 4: anybody can sign for it. It is also
	// what a forgotten field holds.
	if id.IsZero() {
		return proto.ID{}, fmt.Errorf("%w: its key is zero", ErrCertificate)
	}
	return id, nil
}
