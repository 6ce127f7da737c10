package proto

import "fmt"

// Transcript is what the server fixes for one introduction. Both peers get the
// same bytes and derive the same punching plan from them. The plan's time 0 is
// the moment at which the server sent them; each peer takes it to be half its
// own round trip before it received them.
type Transcript struct {
	Introduction Token  `cbor:"1,keyasint" json:"introduction"`
	PlanVersion  uint32 `cbor:"2,keyasint" json:"plan_version"` // the lower of the two peers'
	Initiator    Party  `cbor:"3,keyasint" json:"initiator"`
	Responder    Party  `cbor:"4,keyasint" json:"responder"`
}

// Party is one side of an introduction.
type Party struct {
	ID       ID    `cbor:"1,keyasint" json:"id"`
	Instance Token `cbor:"2,keyasint" json:"instance"`
	// RTT is the round trip between the server and this peer in microseconds;
	// 0 means that it was not measured.
	RTT uint32 `cbor:"3,keyasint" json:"rtt_us"`
	// Observed is the peer's endpoint as the server sees it.
	Observed Candidate `cbor:"4,keyasint" json:"observed"`
	// Candidates are the peer's own statements.
	Candidates []Candidate `cbor:"5,keyasint,omitempty" json:"candidates,omitempty"`
	// PortMode is the peer's own statement, too. Plan version 1 does not know it.
	PortMode PortMode `cbor:"6,keyasint,omitempty" json:"port_mode,omitempty"`
	// NAT is the peer's own statement; nil is nothing known. Plan versions before 4
	// do not know it.
	NAT *NATReport `cbor:"7,keyasint,omitempty" json:"nat,omitempty"`
	// NoGuess is the peer's own statement: it guesses no ports, nor has others guess
	// its own. Plan versions before 4 do not know it.
	NoGuess bool `cbor:"8,keyasint,omitempty" json:"no_guess,omitempty"`
}

// Role says which side of an introduction somebody is.
type Role uint8

// The roles. The initiator is TLS client, yamux client and the session's
// creator, whoever dialled. The values are part of the wire format.
const (
	Initiator Role = 1
	Responder Role = 2
)

// String returns "initiator" or "responder".
func (r Role) String() string {
	switch r {
	case Initiator:
		return "initiator"
	case Responder:
		return "responder"
	}
	return fmt.Sprintf("role(%d)", uint8(r))
}

// Peer returns the other role.
func (r Role) Peer() Role { return Initiator + Responder - r }

// Party returns the side that plays r.
func (t *Transcript) Party(r Role) *Party {
	if r == Initiator {
		return &t.Initiator
	}
	return &t.Responder
}

// RoleOf returns the role of the instance of a peer, or false if the
// transcript is not about it.
func (t *Transcript) RoleOf(id ID, instance Token) (Role, bool) {
	for _, r := range []Role{Initiator, Responder} {
		if p := t.Party(r); p.ID == id && p.Instance == instance {
			return r, true
		}
	}
	return 0, false
}

// Marshal returns the deterministic encoding (RFC 8949, section 4.2.1).
func (t *Transcript) Marshal() ([]byte, error) {
	if err := t.check(); err != nil {
		return nil, err
	}
	return encMode.Marshal(t)
}

// ParseTranscript decodes a transcript; errors wrap ErrMalformed or
// ErrTooLarge.
func ParseTranscript(b []byte) (*Transcript, error) {
	t := new(Transcript)
	if err := decode(b, t); err != nil {
		return nil, fmt.Errorf("transcript: %w", err)
	}
	if err := t.check(); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Transcript) check() error {
	if t.Introduction.IsZero() || t.PlanVersion == 0 {
		return fmt.Errorf("%w: transcript without introduction or plan version", ErrMalformed)
	}
	if t.Initiator.ID == t.Responder.ID {
		return fmt.Errorf("%w: transcript of a peer with itself", ErrMalformed)
	}
	for _, p := range []*Party{&t.Initiator, &t.Responder} {
		if err := p.check(); err != nil {
			return err
		}
	}
	return nil
}

func (p *Party) check() error {
	if p.ID.IsZero() || p.Instance.IsZero() {
		return fmt.Errorf("%w: party without ID or instance", ErrMalformed)
	}
	if err := checkObserved(p.Observed); err != nil {
		return err
	}
	if err := p.NAT.check(); err != nil {
		return err
	}
	return checkCandidates(p.Candidates)
}
