package proto

import (
	"crypto/ed25519"
	"fmt"
)

// The messages of pairing travel on a stream to the target ServicePair, which
// the peer with the ticket's one-time identity opens:
//
//	creator               one-time peer
//	   Pairing ──────────────▶         what the claim is to be made for
//	   ◀────────────────── Claim       who the one-time peer really is
//	   Paired ───────────────▶         the claim is right, and the ticket not used yet
//	   ◀───────────────── Paired       it has stored the creator
//	   Paired ───────────────▶         the creator has stored it: both are paired
//
// A Paired whose code is not CodeOK, and the end of the stream, end the exchange;
// whoever has stored the other then takes that back.

// ServicePair is the target that a ticket's creator offers to its one-time
// identity, and to nobody else.
const ServicePair = "pair"

// Pairing is the creator's first message.
type Pairing struct {
	Nonce Token  `cbor:"1,keyasint"`
	Name  string `cbor:"2,keyasint,omitempty"` // what the creator suggests to be called
}

// Claim says who has come with a one-time identity, and proves it.
type Claim struct {
	ID   ID     `cbor:"1,keyasint"`
	Name string `cbor:"2,keyasint,omitempty"` // what the peer suggests to be called
	// Signature is by the key of ID, over what ClaimText returns.
	Signature []byte `cbor:"3,keyasint"`
}

// Paired is a step of pairing, done or failed.
type Paired struct {
	Code Code   `cbor:"1,keyasint,omitempty"`
	Text string `cbor:"2,keyasint,omitempty"` // for people
}

// Type implements Message.
func (*Pairing) Type() Type { return TypePairing }

// Type implements Message.
func (*Claim) Type() Type { return TypeClaim }

// Type implements Message.
func (*Paired) Type() Type { return TypePaired }

// Check implements Message.
func (m *Pairing) Check() error {
	if m.Nonce.IsZero() {
		return fmt.Errorf("%w: without nonce", ErrMalformed)
	}
	return checkText(m.Name, MaxText)
}

// Check implements Message.
func (m *Claim) Check() error {
	if m.ID.IsZero() || len(m.Signature) != ed25519.SignatureSize {
		return fmt.Errorf("%w: without ID or signature", ErrMalformed)
	}
	return checkText(m.Name, MaxText)
}

// Check implements Message.
func (m *Paired) Check() error { return checkText(m.Text, MaxText) }

func (m *Pairing) withCleanText() Message {
	c := *m
	c.Name = cleanText(c.Name, MaxText)
	return &c
}

func (m *Claim) withCleanText() Message {
	c := *m
	c.Name = cleanText(c.Name, MaxText)
	return &c
}

func (m *Paired) withCleanText() Message {
	c := *m
	c.Text = cleanText(c.Text, MaxText)
	return &c
}

// ClaimText returns what a Claim's signature covers: "peerd claim" ‖ ID of the
// creator ‖ one-time ID ‖ nonce of the creator's Pairing. Nobody else than that
// creator can use such a signature, and only with that ticket.
func ClaimText(creator, oneTime ID, nonce Token) []byte {
	text := append([]byte("peerd claim"), creator[:]...)
	text = append(text, oneTime[:]...)
	return append(text, nonce[:]...)
}

// Proves reports whether the claim's signature is right.
func (m *Claim) Proves(creator, oneTime ID, nonce Token) bool {
	return ed25519.Verify(m.ID.PublicKey(), ClaimText(creator, oneTime, nonce), m.Signature)
}
