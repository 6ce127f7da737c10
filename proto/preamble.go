package proto

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
)

// Preamble is what the two ends of a raw connection send before anything else,
// so that each knows that the other was introduced and did not get there by
// accident. It has a fixed size:
//
//	offset  size  field
//	0       4     magic: f0 'p' 'r' 'd'
//	4       1     version (1)
//	5       1     sender's role: 1 initiator, 2 responder
//	6       2     0
//	8       16    introduction
//	24      16    nonce, random
//	40      32    HMAC-SHA256(secret, "peerd preamble" ‖ bytes 0..39)
//
// No TLS record, STUN message, HTTP request or ssh banner starts like that.
type Preamble [PreambleSize]byte

// PreambleSize is the size of a preamble in bytes.
const PreambleSize = 72

const (
	preambleVersion = 1
	preambleLabel   = "peerd preamble"
	preambleSigned  = 40
)

var preambleMagic = [4]byte{0xf0, 'p', 'r', 'd'}

// Errors of Preamble.Verify that callers tell apart, besides ErrMalformed and
// ErrVersion.
var (
	// ErrEcho means that the preamble bears the reader's own role: something
	// on the path sends back what it gets.
	ErrEcho = errors.New("the connection echoes what is sent")
	// ErrProof means that the sender does not know the introduction's secret.
	ErrProof = errors.New("the preamble does not prove the introduction's secret")
)

// NewPreamble returns the preamble that the side with role r sends.
func NewPreamble(r Role, introduction Token, secret Secret) Preamble {
	var nonce [16]byte
	rand.Read(nonce[:]) // never fails: it crashes the program instead
	return newPreamble(r, introduction, secret, nonce)
}

func newPreamble(r Role, introduction Token, secret Secret, nonce [16]byte) (p Preamble) {
	copy(p[:], preambleMagic[:])
	p[4], p[5] = preambleVersion, byte(r)
	copy(p[8:], introduction[:])
	copy(p[24:], nonce[:])
	mac := p.mac(secret)
	copy(p[preambleSigned:], mac[:])
	return p
}

func (p *Preamble) mac(secret Secret) [sha256.Size]byte {
	h := hmac.New(sha256.New, secret[:])
	h.Write([]byte(preambleLabel))
	h.Write(p[:preambleSigned])
	return [sha256.Size]byte(h.Sum(nil))
}

// Introduction returns the introduction that the preamble claims, before
// anything is proven. The error wraps ErrMalformed or ErrVersion.
func (p *Preamble) Introduction() (Token, error) {
	if [4]byte(p[:4]) != preambleMagic {
		return Token{}, fmt.Errorf("%w: not a preamble", ErrMalformed)
	}
	// Before the rest, which another version may lay out otherwise.
	if p[4] != preambleVersion {
		return Token{}, fmt.Errorf("%w %d of the preamble", ErrVersion, p[4])
	}
	if r := Role(p[5]); (r != Initiator && r != Responder) || p[6] != 0 || p[7] != 0 {
		return Token{}, fmt.Errorf("%w: preamble of %v", ErrMalformed, r)
	}
	return Token(p[8:24]), nil
}

// Nonce returns the sender's random number, which is another one in every
// preamble.
func (p *Preamble) Nonce() [16]byte { return [16]byte(p[24:preambleSigned]) }

// Verify returns nil if the preamble was made by the side with role sender of
// the introduction. The error wraps ErrMalformed, ErrVersion, ErrEcho or
// ErrProof.
func (p *Preamble) Verify(sender Role, introduction Token, secret Secret) error {
	claimed, err := p.Introduction()
	if err != nil {
		return err
	}
	mac := p.mac(secret)
	if claimed != introduction || !hmac.Equal(mac[:], p[preambleSigned:]) {
		return ErrProof
	}
	if Role(p[5]) != sender {
		return ErrEcho
	}
	return nil
}
