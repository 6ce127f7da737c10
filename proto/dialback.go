package proto

import "fmt"

// DialBack asks the server for one SYN to an endpoint of the client's, to find
// out what its NATs do with it.
type DialBack struct {
	Request uint32       `cbor:"1,keyasint"` // chosen by the client, not 0
	From    DialBackFrom `cbor:"2,keyasint"`
	// To is the endpoint as the server observes it: of the registration itself, or
	// of a STUN connection that lives and has shown the client's ProbeToken.
	To Candidate `cbor:"3,keyasint"`
}

// DialBackFrom says from which of the server's endpoints a SYN is to come.
type DialBackFrom uint8

// The origins. The values are part of the wire format.
const (
	FromOtherPort DialBackFrom = 1 // another port of the address that the client is connected to
	FromAlternate DialBackFrom = 2 // Registered.Alternate
	FromSilent    DialBackFrom = 3 // Registered.SilentPort of the address that the client is connected to
	FromClosed    DialBackFrom = 4 // likewise Registered.ClosedPort
)

// DialedBack is the outcome of DialBack.
type DialedBack struct {
	Request uint32 `cbor:"1,keyasint"`
	// Answer is what the SYN met; AnswerUnknown if none was sent.
	Answer NATAnswer `cbor:"2,keyasint,omitempty"`
}

// Type implements Message.
func (*DialBack) Type() Type { return TypeDialBack }

// Type implements Message.
func (*DialedBack) Type() Type { return TypeDialedBack }

// Check implements Message.
func (m *DialBack) Check() error {
	if m.Request == 0 || m.From == 0 {
		return fmt.Errorf("%w: without request or origin", ErrMalformed)
	}
	return checkObserved(m.To)
}

// Check implements Message.
func (m *DialedBack) Check() error {
	if m.Request == 0 {
		return fmt.Errorf("%w: without request", ErrMalformed)
	}
	return nil
}
