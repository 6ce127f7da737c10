package proto

import (
	"fmt"
	"net/netip"
	"slices"
)

// Type is the type of a control message, the second byte of its frame.
type Type uint8

// The message types. Types below 0x80 that a receiver does not know end the
// connection; those from 0x80 on are skipped by who does not know them.
const (
	TypeRegister     Type = 1  // client → server, first
	TypeRegistered   Type = 2  // server → client, answer to Register
	TypeIntroduce    Type = 3  // client → server
	TypeOffer        Type = 4  // server → client
	TypeAnswer       Type = 5  // client → server, answer to Offer
	TypeIntroduction Type = 6  // server → both clients
	TypeDeclined     Type = 7  // server → client, answer to Introduce
	TypePing         Type = 8  // either way
	TypePong         Type = 9  // either way, answer to Ping
	TypeFailure      Type = 10 // either way, last
	TypeOpen         Type = 16 // first on a stream, from its opener
	TypeOpened       Type = 17 // first on a stream, from its acceptor
	TypeListen       Type = 18 // first on a stream, from its opener
	TypeListening    Type = 19 // first on a stream, from its acceptor
	TypePairing      Type = 20 // on a stream to ServicePair, first, from its acceptor
	TypeClaim        Type = 21 // answer to Pairing
	TypePaired       Type = 22 // either way, behind Claim

	TypeWithdraw   Type = 0x81 // client → server
	TypeDialBack   Type = 0x82 // client → server
	TypeDialedBack Type = 0x83 // server → client, answer to DialBack
)

// Ignorable reports whether a receiver that does not know the type skips it.
func (t Type) Ignorable() bool { return t >= 0x80 }

// String names the type, for logs.
func (t Type) String() string {
	if m := newMessage(t); m != nil {
		return fmt.Sprintf("%T", m)[len("*proto."):]
	}
	return fmt.Sprintf("type %d", uint8(t))
}

// Message is a control message. Fields that a receiver does not know are
// ignored, so that later versions can add some; duplicate fields, indefinite
// lengths, tags, null and trailing bytes are malformed, also in those.
type Message interface {
	Type() Type
	// Check returns an error that wraps ErrMalformed or ErrTooLarge if the
	// message breaks a rule that its encoding does not express.
	Check() error
}

func newMessage(t Type) Message {
	switch t {
	case TypeRegister:
		return new(Register)
	case TypeRegistered:
		return new(Registered)
	case TypeIntroduce:
		return new(Introduce)
	case TypeOffer:
		return new(Offer)
	case TypeAnswer:
		return new(Answer)
	case TypeIntroduction:
		return new(Introduction)
	case TypeDeclined:
		return new(Declined)
	case TypePing:
		return new(Ping)
	case TypePong:
		return new(Pong)
	case TypeFailure:
		return new(Failure)
	case TypeOpen:
		return new(Open)
	case TypeOpened:
		return new(Opened)
	case TypeListen:
		return new(Listen)
	case TypeListening:
		return new(Listening)
	case TypePairing:
		return new(Pairing)
	case TypeClaim:
		return new(Claim)
	case TypePaired:
		return new(Paired)
	case TypeWithdraw:
		return new(Withdraw)
	case TypeDialBack:
		return new(DialBack)
	case TypeDialedBack:
		return new(DialedBack)
	}
	return nil
}

// Register asks the server to list this connection as (ID, instance). The ID
// is the one whose key the client proved in the TLS handshake.
type Register struct {
	Instance    Token  `cbor:"1,keyasint"`
	PlanVersion uint32 `cbor:"2,keyasint"`
	// Answers says that the client answers introductions from anybody it has
	// authorised; AnswersFor names peers whose introductions it answers even
	// if Answers is false.
	Answers    bool   `cbor:"3,keyasint,omitempty"`
	AnswersFor []ID   `cbor:"4,keyasint,omitempty"`
	Agent      string `cbor:"5,keyasint,omitempty"` // program and version, for people
	// Away is for how many seconds after the connection's end the server expects
	// the client back, so that what is asked of it waits instead of failing; more
	// than MaxWait counts as MaxWait, and less than the server's own grace as that.
	Away uint16 `cbor:"6,keyasint,omitempty"`
}

// Registered confirms a registration.
type Registered struct {
	// Observed is the client's endpoint as the server sees it.
	Observed Candidate `cbor:"1,keyasint"`
	// ProbePorts are further TCP ports of the server that answer STUN, at most
	// MaxProbePorts.
	ProbePorts []uint16 `cbor:"2,keyasint,omitempty"`
	// Alternate is another address of the server, of 4 or 16 bytes, at which the
	// ProbePorts answer as well; empty if it has none.
	Alternate ByteString `cbor:"3,keyasint,omitempty"`
	// ProbeToken, of the size of a Token, proves in a STUN request that it comes
	// from this client; empty if the server does not dial back.
	ProbeToken ByteString `cbor:"4,keyasint,omitempty"`
	// SilentPort is a port of the server's that answers no SYN, and ClosedPort one
	// that answers with a RST; 0 if it has none.
	SilentPort uint16 `cbor:"5,keyasint,omitempty"`
	ClosedPort uint16 `cbor:"6,keyasint,omitempty"`
}

// AlternateAddr returns Alternate; the zero Addr if there is none.
func (m *Registered) AlternateAddr() netip.Addr {
	addr, _ := netip.AddrFromSlice(m.Alternate)
	return addr
}

// Introduce asks for an introduction to a peer.
type Introduce struct {
	Request    uint32      `cbor:"1,keyasint"` // chosen by the client, not 0
	Peer       ID          `cbor:"2,keyasint"`
	Candidates []Candidate `cbor:"3,keyasint,omitempty"`
	// Wait is for how many seconds the server keeps the request if the peer
	// does not answer now; more than MaxWait counts as MaxWait. 0: only as long
	// as the server expects the peer anyway.
	Wait uint16 `cbor:"4,keyasint,omitempty"`
	// PortMode, NAT and NoGuess are the client's own (see Party); nil is nothing known.
	PortMode PortMode   `cbor:"5,keyasint,omitempty"`
	NAT      *NATReport `cbor:"6,keyasint,omitempty"`
	NoGuess  bool       `cbor:"7,keyasint,omitempty"`
}

// Withdraw takes an Introduce back that was not answered yet. A server that does
// not know it answers what nobody waits for, which does no harm.
type Withdraw struct {
	Request uint32 `cbor:"1,keyasint"` // of the Introduce, not 0
}

// Offer asks a client whether it consents to meet a peer.
type Offer struct {
	Introduction Token `cbor:"1,keyasint"`
	Initiator    ID    `cbor:"2,keyasint"`
}

// Answer is a client's consent to an offer, or its refusal.
type Answer struct {
	Introduction Token       `cbor:"1,keyasint"`
	Accept       bool        `cbor:"2,keyasint,omitempty"`
	Candidates   []Candidate `cbor:"3,keyasint,omitempty"`
	PortMode     PortMode    `cbor:"4,keyasint,omitempty"` // the client's own
	// Code is why a client that would consent does not do so now; the server
	// passes CodeBusy on, and nothing else. It has no meaning if Accept is set.
	Code    Code       `cbor:"5,keyasint,omitempty"`
	NAT     *NATReport `cbor:"6,keyasint,omitempty"` // the client's own; nil is nothing known
	NoGuess bool       `cbor:"7,keyasint,omitempty"` // the client's own
}

// Introduction gives both peers the same transcript and secret.
type Introduction struct {
	// Request is the receiver's own request that this answers, or 0.
	Request    uint32 `cbor:"1,keyasint,omitempty"`
	Secret     Secret `cbor:"2,keyasint"`
	Transcript []byte `cbor:"3,keyasint"` // see Transcript
}

// Declined says that a requested introduction will not happen.
type Declined struct {
	Request uint32 `cbor:"1,keyasint"`
	Code    Code   `cbor:"2,keyasint"`
}

// Ping asks for a Pong with the same number.
type Ping struct {
	N uint64 `cbor:"1,keyasint"`
}

// Pong answers a Ping.
type Pong struct {
	N uint64 `cbor:"1,keyasint"`
}

// Failure says why the sender closes the connection.
type Failure struct {
	Code Code   `cbor:"1,keyasint"`           // not CodeOK
	Text string `cbor:"2,keyasint,omitempty"` // for people
}

// Open is the first message on a stream. The opener's data may follow at once.
type Open struct {
	Target string `cbor:"1,keyasint"` // printable, at most MaxTarget bytes
}

// Opened answers Open. If Code is not CodeOK, no data follows.
type Opened struct {
	Code Code   `cbor:"1,keyasint,omitempty"`
	Text string `cbor:"2,keyasint,omitempty"` // for people
}

// Listen is the first message on a stream whose opener wants connections from
// the other end's network: the acceptor listens at Bind for as long as the stream
// lives, and opens a stream to the target Reply for each connection. No data
// follows.
type Listen struct {
	// Bind is PORT, HOST:PORT or unix:/path; port 0 leaves the choice to the
	// acceptor. Printable, at most MaxTarget bytes, like Reply.
	Bind  string `cbor:"1,keyasint"`
	Reply string `cbor:"2,keyasint"`
}

// Listening answers Listen. No data follows.
type Listening struct {
	Code Code   `cbor:"1,keyasint,omitempty"`
	Text string `cbor:"2,keyasint,omitempty"` // for people
	// Addr is where the acceptor listens, in the form of Bind, with the port
	// that it chose. It is set if Code is CodeOK.
	Addr string `cbor:"3,keyasint,omitempty"`
}

func (*Register) Type() Type     { return TypeRegister }
func (*Registered) Type() Type   { return TypeRegistered }
func (*Introduce) Type() Type    { return TypeIntroduce }
func (*Offer) Type() Type        { return TypeOffer }
func (*Answer) Type() Type       { return TypeAnswer }
func (*Introduction) Type() Type { return TypeIntroduction }
func (*Declined) Type() Type     { return TypeDeclined }
func (*Ping) Type() Type         { return TypePing }
func (*Pong) Type() Type         { return TypePong }
func (*Failure) Type() Type      { return TypeFailure }
func (*Open) Type() Type         { return TypeOpen }
func (*Opened) Type() Type       { return TypeOpened }
func (*Listen) Type() Type       { return TypeListen }
func (*Listening) Type() Type    { return TypeListening }
func (*Withdraw) Type() Type     { return TypeWithdraw }

// Check implements Message.
func (m *Register) Check() error {
	if m.Instance.IsZero() || m.PlanVersion == 0 {
		return fmt.Errorf("%w: without instance or plan version", ErrMalformed)
	}
	if len(m.AnswersFor) > MaxAnswersFor {
		return fmt.Errorf("%w: answers for %d peers", ErrTooLarge, len(m.AnswersFor))
	}
	if slices.Contains(m.AnswersFor, ID{}) {
		return fmt.Errorf("%w: answers for the zero ID", ErrMalformed)
	}
	return checkText(m.Agent, MaxText)
}

// Check implements Message.
func (m *Registered) Check() error {
	if len(m.ProbePorts) > MaxProbePorts {
		return fmt.Errorf("%w: %d probe ports", ErrTooLarge, len(m.ProbePorts))
	}
	if slices.Contains(m.ProbePorts, 0) {
		return fmt.Errorf("%w: probe port 0", ErrMalformed)
	}
	if n := len(m.ProbeToken); n != 0 && n != len(Token{}) {
		return fmt.Errorf("%w: probe token of %d bytes", ErrMalformed, n)
	}
	if a := m.AlternateAddr(); len(m.Alternate) > 0 && (!a.IsValid() || a.Is4In6() || a.IsUnspecified() || a.IsMulticast()) {
		return fmt.Errorf("%w: second address % x", ErrMalformed, m.Alternate)
	}
	return checkObserved(m.Observed)
}

// Check implements Message.
func (m *Introduce) Check() error {
	if m.Request == 0 || m.Peer.IsZero() {
		return fmt.Errorf("%w: without request or peer", ErrMalformed)
	}
	if err := m.NAT.check(); err != nil {
		return err
	}
	return checkCandidates(m.Candidates)
}

// Check implements Message.
func (m *Withdraw) Check() error {
	if m.Request == 0 {
		return fmt.Errorf("%w: without request", ErrMalformed)
	}
	return nil
}

// Check implements Message.
func (m *Offer) Check() error {
	if m.Introduction.IsZero() || m.Initiator.IsZero() {
		return fmt.Errorf("%w: without introduction or initiator", ErrMalformed)
	}
	return nil
}

// Check implements Message.
func (m *Answer) Check() error {
	if m.Introduction.IsZero() {
		return fmt.Errorf("%w: without introduction", ErrMalformed)
	}
	if err := m.NAT.check(); err != nil {
		return err
	}
	return checkCandidates(m.Candidates)
}

// Check implements Message.
func (m *Introduction) Check() error {
	if m.Secret.IsZero() {
		return fmt.Errorf("%w: without secret", ErrMalformed)
	}
	_, err := ParseTranscript(m.Transcript)
	return err
}

// Check implements Message.
func (m *Declined) Check() error {
	if m.Request == 0 || m.Code == CodeOK {
		return fmt.Errorf("%w: without request or reason", ErrMalformed)
	}
	return nil
}

// Check implements Message.
func (m *Ping) Check() error { return nil }

// Check implements Message.
func (m *Pong) Check() error { return nil }

// Check implements Message.
func (m *Failure) Check() error {
	if m.Code == CodeOK {
		return fmt.Errorf("%w: without reason", ErrMalformed)
	}
	return checkText(m.Text, MaxText)
}

// Check implements Message.
func (m *Open) Check() error { return checkName(m.Target, "target") }

// Check implements Message.
func (m *Opened) Check() error { return checkText(m.Text, MaxText) }

// Check implements Message.
func (m *Listen) Check() error {
	if err := checkName(m.Bind, "address"); err != nil {
		return err
	}
	return checkName(m.Reply, "reply")
}

// Check implements Message.
func (m *Listening) Check() error {
	if (m.Addr == "") != (m.Code != CodeOK) {
		return fmt.Errorf("%w: code %d with address %q", ErrMalformed, m.Code, m.Addr)
	}
	if err := checkText(m.Addr, MaxTarget); err != nil {
		return err
	}
	return checkText(m.Text, MaxText)
}

// checkName enforces the rules for the name of a target and the like.
func checkName(name, what string) error {
	if name == "" {
		return fmt.Errorf("%w: without %s", ErrMalformed, what)
	}
	return checkText(name, MaxTarget)
}

func checkObserved(c Candidate) error {
	if c.Kind != Observed {
		return fmt.Errorf("%w: %v where an observed endpoint belongs", ErrMalformed, c)
	}
	return c.check()
}
