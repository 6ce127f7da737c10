package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"time"

	"github.com/peerd/peerd/proto"
)

// Key is an Ed25519 private key and its self-signed certificate. Keys are
// immutable and safe for concurrent use. The zero Key is of no use.
type Key struct {
	private ed25519.PrivateKey
	cert    tls.Certificate
}

// Generate returns a new key from the system's random source.
func Generate() *Key {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		panic(err) // rand.Reader never fails: it crashes the program instead
	}
	return newKey(private)
}

// FromSeed returns the key that a seed of ed25519.SeedSize bytes stands for (RFC
// 8032, section 5.1.5). It panics if the seed has another size.
func FromSeed(seed []byte) *Key { return newKey(ed25519.NewKeyFromSeed(seed)) }

func newKey(private ed25519.PrivateKey) *Key {
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, private.Public(), private)
	if err != nil {
		panic(err) // the template is a constant and any seed is a key
	}
	return &Key{
		private: private,
		cert:    tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private},
	}
}

// template has no random part and Ed25519 signatures have none either, so one
// key has one certificate. It never expires (RFC 5280, section 4.1.2.5): what
// ends trust in a key is its removal from a list, not a clock.
var template = x509.Certificate{
	SerialNumber: big.NewInt(1),
	NotBefore:    time.Unix(0, 0),
	NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
}

// ID returns the ID that the key proves.
func (k *Key) ID() proto.ID {
	return proto.IDOf(k.private.Public().(ed25519.PublicKey))
}

// Sign signs a text, which must begin with words that say what it is for: the
// same key signs in TLS.
func (k *Key) Sign(text []byte) []byte { return ed25519.Sign(k.private, text) }
