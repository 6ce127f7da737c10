package proto

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
)

// ID identifies a peer or a server: it is an Ed25519 public key. IDs are
// comparable; the zero ID belongs to nobody.
//
// The text form is 56 characters of lower-case base32 (RFC 4648, section 6,
// alphabet in lower case, no padding) over 35 bytes:
//
//	offset  size  field
//	0       1     0x78 | version; version is 1, so every ID starts with "p"
//	1       32    Ed25519 public key
//	33      2     first two bytes of SHA-256("peerd id" ‖ bytes 0..32)
//
// 35 bytes are exactly 56 characters, so an ID has one text form only.
type ID [ed25519.PublicKeySize]byte

const (
	idVersion  = 1
	idPrefix   = 0x78 | idVersion
	idRawLen   = 1 + ed25519.PublicKeySize + 2
	idTextLen  = idRawLen * 8 / 5
	idSumLabel = "peerd id"
)

const idAlphabet = "abcdefghijklmnopqrstuvwxyz234567"

var idEncoding = base32.NewEncoding(idAlphabet).WithPadding(base32.NoPadding)

// Errors of ParseID. Callers tell them apart to say what is wrong with an ID
// that a person typed.
var (
	ErrIDLength   = errors.New("a peer ID has 56 characters")
	ErrIDAlphabet = errors.New("a peer ID consists of the characters a-z and 2-7")
	ErrIDVersion  = errors.New("the peer ID is of a version that this program does not know")
	ErrIDChecksum = errors.New("the peer ID is mistyped: its checksum does not match")
)

// IDOf returns the ID of a public key. It panics if the key has not the size
// of an Ed25519 public key.
func IDOf(key ed25519.PublicKey) ID {
	if len(key) != ed25519.PublicKeySize {
		panic(fmt.Sprintf("proto: Ed25519 public key of %d bytes", len(key)))
	}
	return ID(key)
}

// ParseID parses the text form of an ID. The error is, or wraps, ErrIDLength,
// ErrIDAlphabet, ErrIDVersion or ErrIDChecksum.
func ParseID(s string) (ID, error) {
	if len(s) != idTextLen {
		return ID{}, fmt.Errorf("%w, not %d", ErrIDLength, len(s))
	}
	// The decoder skips line ends; what it leaves out makes the result short.
	raw, err := idEncoding.DecodeString(s)
	if err != nil || len(raw) != idRawLen {
		return ID{}, ErrIDAlphabet
	}
	id := ID(raw[1 : 1+ed25519.PublicKeySize])
	if [2]byte(raw[idRawLen-2:]) != idChecksum(raw[0], id) {
		return ID{}, ErrIDChecksum
	}
	if raw[0] != idPrefix {
		return ID{}, ErrIDVersion
	}
	return id, nil
}

func idChecksum(prefix byte, id ID) [2]byte {
	h := sha256.New()
	h.Write([]byte(idSumLabel))
	h.Write([]byte{prefix})
	h.Write(id[:])
	return [2]byte(h.Sum(nil))
}

// String returns the text form.
func (id ID) String() string {
	raw := make([]byte, 0, idRawLen)
	raw = append(raw, idPrefix)
	raw = append(raw, id[:]...)
	sum := idChecksum(idPrefix, id)
	return idEncoding.EncodeToString(append(raw, sum[:]...))
}

// Short returns the first ten characters of the text form, for logs and for
// messages to people. It does not identify a peer.
func (id ID) Short() string { return id.String()[:10] }

// IsZero reports whether id is the zero ID.
func (id ID) IsZero() bool { return id == ID{} }

// PublicKey returns the key that the ID stands for.
func (id ID) PublicKey() ed25519.PublicKey { return ed25519.PublicKey(id[:]) }

// MarshalText implements encoding.TextMarshaler.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler; its errors are those of
// ParseID.
func (id *ID) UnmarshalText(b []byte) error {
	parsed, err := ParseID(string(b))
	if err == nil {
		*id = parsed
	}
	return err
}

// MarshalBinary returns the 32 bytes of the key.
func (id ID) MarshalBinary() ([]byte, error) { return id[:], nil }

// UnmarshalBinary takes exactly the 32 bytes of a key.
func (id *ID) UnmarshalBinary(b []byte) error { return exactly(id[:], b, "peer ID") }

// UnmarshalCBOR takes the byte string of exactly the 32 bytes of a key.
func (id *ID) UnmarshalCBOR(b []byte) error { return fromByteString(id, b) }

// exactly copies src to dst if they have the same length.
func exactly(dst, src []byte, what string) error {
	if len(src) != len(dst) {
		return fmt.Errorf("%w: %s of %d bytes, want %d", ErrMalformed, what, len(src), len(dst))
	}
	copy(dst, src)
	return nil
}
