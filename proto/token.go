package proto

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
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

// UnmarshalCBOR takes the byte string of exactly 16 bytes.
func (t *Token) UnmarshalCBOR(b []byte) error { return fromByteString(t, b) }

// MarshalText returns the token in hexadecimal.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText takes exactly 32 hexadecimal digits.
func (t *Token) UnmarshalText(text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil {
		return fmt.Errorf("%w: token: %v", ErrMalformed, err)
	}
	return t.UnmarshalBinary(b)
}

// Secret is the 256-bit key under which both peers of one introduction prove
// themselves in the punch preamble. The server that introduced them knows it.
type Secret [32]byte

// NewSecret returns a secret from the system's random source.
func NewSecret() (s Secret) {
	rand.Read(s[:]) // never fails: it crashes the program instead
	return s
}

// IsZero reports whether s is the zero secret, under which nothing is proven.
func (s Secret) IsZero() bool { return s == Secret{} }

// String hides the secret, so that no log holds it.
func (s Secret) String() string { return "secret" }

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return "proto.Secret" }

// MarshalText hides the secret from JSON, which logs are written in.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalBinary returns the 32 bytes.
func (s Secret) MarshalBinary() ([]byte, error) { return s[:], nil }

// UnmarshalBinary takes exactly 32 bytes.
func (s *Secret) UnmarshalBinary(b []byte) error { return exactly(s[:], b, "secret") }

// UnmarshalCBOR takes the byte string of exactly 32 bytes.
func (s *Secret) UnmarshalCBOR(b []byte) error { return fromByteString(s, b) }
