package proto

import (
	"crypto/rand"
	"encoding/hex"
)

// Token is 128 random bits that name something for its lifetime: an instance
// of a node, an introduction, a session. Tokens are comparable.
type Token [16]byte

// NewToken returns a token from the system's random source.
func NewToken() (t Token) {
	rand.Read(t[:]) // never fails: it crashes the program instead
	return t
}

// String returns the token in hexadecimal.
func (t Token) String() string { return hex.EncodeToString(t[:]) }

// IsZero reports whether t is the zero token, which names nothing.
func (t Token) IsZero() bool { return t == Token{} }

// MarshalBinary returns the 16 bytes.
func (t Token) MarshalBinary() ([]byte, error) { return t[:], nil }

// UnmarshalBinary takes exactly 16 bytes.
func (t *Token) UnmarshalBinary(b []byte) error { return exactly(t[:], b, "token") }

// Secret is the 256-bit key under which both peers of one introduction prove
// themselves in the punch preamble. The server that introduced them knows it.
type Secret [32]byte

// NewSecret returns a secret from the system's random source.
func NewSecret() (s Secret) {
	rand.Read(s[:]) // never fails: it crashes the program instead
	return s
}

// String hides the secret, so that no log holds it.
func (s Secret) String() string { return "secret" }

// MarshalBinary returns the 32 bytes.
func (s Secret) MarshalBinary() ([]byte, error) { return s[:], nil }

// UnmarshalBinary takes exactly 32 bytes.
func (s *Secret) UnmarshalBinary(b []byte) error { return exactly(s[:], b, "secret") }
