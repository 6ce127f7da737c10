package proto

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"reflect"
	"strings"
	"testing"
)

func TestMessagesRoundTrip(t *testing.T) {
	var stream bytes.Buffer
	for _, m := range sampleMessages() {
		if err := Write(&stream, m.message); err != nil {
			t.Fatalf("%s: %v", m.name, err)
		}
	}
	for _, m := range sampleMessages() {
		got, err := Read(&stream)
		if err != nil || !reflect.DeepEqual(got, m.message) {
			t.Errorf("%s: read %+v, %v", m.name, got, err)
		}
	}
	if _, err := Read(&stream); err != io.EOF {
		t.Errorf("end: %v", err)
	}
}

func TestEveryTypeHasSamplesAndName(t *testing.T) {
	sampled := map[Type]bool{}
	for _, m := range sampleMessages() {
		sampled[m.message.Type()] = true
	}
	for typ := range Type(255) {
		m := newMessage(typ)
		switch {
		case m == nil && !strings.HasPrefix(typ.String(), "type "):
			t.Errorf("type %d is called %s", uint8(typ), typ)
		case m != nil && (m.Type() != typ || !sampled[typ] || "*proto."+typ.String() != reflect.TypeOf(m).String()):
			t.Errorf("type %d is %T, called %s, sampled %v", uint8(typ), m, typ, sampled[typ])
		}
		if typ.Ignorable() != (typ >= 0x80) {
			t.Errorf("%s: ignorable %v", typ, typ.Ignorable())
		}
	}
}

// Every message at its limits fits into a frame.
func TestLargestMessagesFit(t *testing.T) {
	largest := maximalTranscript()
	largest.Initiator.NAT, largest.Responder.NAT = maximalNAT(), maximalNAT()
	largest.Initiator.NoGuess, largest.Responder.NoGuess = true, true
	transcript, err := largest.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	var ids []ID
	var ports []uint16
	for range MaxAnswersFor {
		ids = append(ids, sampleID(1))
	}
	for range MaxProbePorts {
		ports = append(ports, 65535)
	}
	text := strings.Repeat("x", MaxText)
	for _, m := range []Message{
		&Register{Instance: sampleToken(1), PlanVersion: ^uint32(0), Answers: true, AnswersFor: ids, Agent: text, Away: ^uint16(0)},
		&Registered{Observed: sampleCandidate(Observed, "[ffff::ffff]:65535"), ProbePorts: ports, Alternate: bytes16(0x20), ProbeToken: bytes16(255), SilentPort: 65535, ClosedPort: 65535},
		&Introduce{Request: ^uint32(0), Peer: sampleID(1), Candidates: maximalCandidates(), Wait: ^uint16(0), PortMode: 255, NAT: maximalNAT(), NoGuess: true},
		&Answer{Introduction: sampleToken(1), Accept: true, Candidates: maximalCandidates(), PortMode: 255, Code: 65535, NAT: maximalNAT(), NoGuess: true},
		&Introduction{Request: ^uint32(0), Secret: sampleSecret(1), Transcript: transcript},
		&Failure{Code: 65535, Text: text},
		&Open{Target: strings.Repeat("x", MaxTarget)},
		&Opened{Code: 65535, Text: text},
		&Listen{Bind: strings.Repeat("x", MaxTarget), Reply: strings.Repeat("x", MaxTarget)},
		&Listening{Addr: strings.Repeat("x", MaxTarget), Text: text},
		&Pairing{Nonce: sampleToken(8), Name: text},
		&Claim{ID: sampleID(1), Name: text, Signature: make([]byte, 64)},
		&Paired{Code: CodeRefused, Text: text},
	} {
		b, err := Append(nil, m)
		if err != nil || len(b) > frameHeader+MaxPayload/4 {
			t.Errorf("%s: %d bytes, %v", m.Type(), len(b), err)
		}
		if got, err := Read(bytes.NewReader(b)); err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%s: %v", m.Type(), err)
		}
	}
}

// badMessages break a rule that their encoding does not express.
func badMessages() []struct {
	name    string
	message Message
	want    error
} {
	id, token, secret := sampleID(1), sampleToken(1), sampleSecret(1)
	observed := sampleCandidate(Observed, "192.0.2.1:4000")
	host := sampleCandidate(Host, "10.0.0.1:4000")
	return []struct {
		name    string
		message Message
		want    error
	}{
		{"no instance", &Register{PlanVersion: 1}, ErrMalformed},
		{"no plan version", &Register{Instance: token}, ErrMalformed},
		{"answers for too many", &Register{Instance: token, PlanVersion: 1, AnswersFor: make([]ID, MaxAnswersFor+1)}, ErrTooLarge},
		{"answers for nobody", &Register{Instance: token, PlanVersion: 1, AnswersFor: []ID{id, {}}}, ErrMalformed},
		{"no observed endpoint", &Registered{}, ErrMalformed},
		{"host as observed", &Registered{Observed: host}, ErrMalformed},
		{"observed without address", &Registered{Observed: Candidate{Kind: Observed}}, ErrMalformed},
		{"observed 4in6", &Registered{Observed: Candidate{Kind: Observed, Addr: netip.MustParseAddrPort("[::ffff:192.0.2.1]:4000")}}, ErrMalformed},
		{"too many probe ports", &Registered{Observed: observed, ProbePorts: make([]uint16, MaxProbePorts+1)}, ErrTooLarge},
		{"probe port 0", &Registered{Observed: observed, ProbePorts: []uint16{0}}, ErrMalformed},
		{"no request", &Introduce{Peer: id}, ErrMalformed},
		{"no peer", &Introduce{Request: 1}, ErrMalformed},
		{"too many candidates", &Introduce{Request: 1, Peer: id, Candidates: append(maximalCandidates(), host)}, ErrTooLarge},
		{"own observation", &Introduce{Request: 1, Peer: id, Candidates: []Candidate{observed}}, ErrMalformed},
		{"bad report of its NAT", &Introduce{Request: 1, Peer: id, NAT: &NATReport{Confidence: 101}}, ErrMalformed},
		{"answer with too many samples", &Answer{Introduction: token, NAT: &NATReport{Samples: make([]uint16, MaxNATSamples+1)}}, ErrTooLarge},
		{"second address of 5 bytes", &Registered{Observed: observed, Alternate: make([]byte, 5)}, ErrMalformed},
		{"second address 0.0.0.0", &Registered{Observed: observed, Alternate: make([]byte, 4)}, ErrMalformed},
		{"second address of many", &Registered{Observed: observed, Alternate: []byte{224, 0, 0, 1}}, ErrMalformed},
		{"second address 4in6", &Registered{Observed: observed, Alternate: []byte{10: 255, 11: 255, 12: 192, 14: 2, 15: 1}}, ErrMalformed},
		{"probe token of 15 bytes", &Registered{Observed: observed, ProbeToken: make([]byte, 15)}, ErrMalformed},
		{"dial-back without request", &DialBack{From: FromClosed, To: observed}, ErrMalformed},
		{"dial-back from nowhere", &DialBack{Request: 1, To: observed}, ErrMalformed},
		{"dial-back to a host candidate", &DialBack{Request: 1, From: FromClosed, To: host}, ErrMalformed},
		{"outcome of nothing", &DialedBack{Answer: AnswerReset}, ErrMalformed},
		{"nothing withdrawn", &Withdraw{}, ErrMalformed},
		{"offer of nothing", &Offer{Initiator: id}, ErrMalformed},
		{"offer from nobody", &Offer{Introduction: token}, ErrMalformed},
		{"answer to nothing", &Answer{Accept: true}, ErrMalformed},
		{"answer with own observation", &Answer{Introduction: token, Candidates: []Candidate{observed}}, ErrMalformed},
		{"no secret", &Introduction{Transcript: mustTranscript()}, ErrMalformed},
		{"no transcript", &Introduction{Secret: secret}, ErrMalformed},
		{"bad transcript", &Introduction{Secret: secret, Transcript: []byte{0xa0}}, ErrMalformed},
		{"declined nothing", &Declined{Code: CodeBusy}, ErrMalformed},
		{"declined without reason", &Declined{Request: 1}, ErrMalformed},
		{"failure without reason", &Failure{}, ErrMalformed},
		{"no target", &Open{}, ErrMalformed},
		{"long target", &Open{Target: strings.Repeat("x", MaxTarget+1)}, ErrTooLarge},
		{"unprintable target", &Open{Target: "22\n"}, ErrMalformed},
		{"target of invalid UTF-8", &Open{Target: "\xff"}, ErrMalformed},
		{"no address to listen at", &Listen{Reply: "x"}, ErrMalformed},
		{"no reply", &Listen{Bind: "1"}, ErrMalformed},
		{"long address to listen at", &Listen{Bind: strings.Repeat("x", MaxTarget+1), Reply: "x"}, ErrTooLarge},
		{"unprintable address to listen at", &Listen{Bind: "1\n", Reply: "x"}, ErrMalformed},
		{"long reply", &Listen{Bind: "1", Reply: strings.Repeat("x", MaxTarget+1)}, ErrTooLarge},
		{"unprintable reply", &Listen{Bind: "1", Reply: "x\n"}, ErrMalformed},
		{"no nonce", &Pairing{Name: "home"}, ErrMalformed},
		{"no ID", &Claim{Signature: make([]byte, 64)}, ErrMalformed},
		{"short signature", &Claim{ID: sampleID(1), Signature: make([]byte, 63)}, ErrMalformed},
		{"listening nowhere", &Listening{}, ErrMalformed},
		{"refused and listening", &Listening{Code: CodeBusy, Addr: "127.0.0.1:1"}, ErrMalformed},
		{"long listening address", &Listening{Addr: strings.Repeat("x", MaxTarget+1)}, ErrTooLarge},
		{"unprintable listening address", &Listening{Addr: "127.0.0.1:1\n"}, ErrMalformed},
	}
}

func mustTranscript() []byte {
	b, err := sampleTranscript().Marshal()
	if err != nil {
		panic(err)
	}
	return b
}

func TestBadMessages(t *testing.T) {
	for _, c := range badMessages() {
		if err := c.message.Check(); !errors.Is(err, c.want) {
			t.Errorf("%s: Check: %v, want %v", c.name, err, c.want)
		}
		if b, err := Append([]byte("before"), c.message); !errors.Is(err, c.want) || string(b) != "before" {
			t.Errorf("%s: Append: %q, %v, want %v", c.name, b, err, c.want)
		}
		payload, err := encMode.Marshal(c.message)
		if err != nil {
			continue // the address has no encoding
		}
		// Package cbor loses the cause of a field's error.
		if m, err := Parse(c.message.Type(), payload); m != nil || (!errors.Is(err, c.want) && !errors.Is(err, ErrMalformed)) {
			t.Errorf("%s: Parse: %v, %v, want %v", c.name, m, err, c.want)
		}
	}
}

func TestUnknownTypes(t *testing.T) {
	for _, typ := range []Type{0, 11, 15, 20, 0x7f} {
		if m, err := Parse(typ, []byte{0xa0}); m != nil || !errors.Is(err, ErrMalformed) {
			t.Errorf("%v: %v, %v", typ, m, err)
		}
	}
	for _, typ := range []Type{0x80, 0xff} {
		if m, err := Parse(typ, []byte("not CBOR")); m != nil || err != nil {
			t.Errorf("%v: %v, %v", typ, m, err)
		}
	}
}

func TestReadSkipsIgnorable(t *testing.T) {
	b, _ := AppendFrame(nil, 0x80, []byte("from the future"))
	b, _ = AppendFrame(b, 0xff, nil)
	b, _ = Append(b, &Ping{N: 7})
	m, err := Read(bytes.NewReader(b))
	if p, ok := m.(*Ping); err != nil || !ok || p.N != 7 {
		t.Errorf("%v, %v", m, err)
	}
}

type countingWriter struct{ writes int }

func (w *countingWriter) Write(b []byte) (int, error) { w.writes++; return len(b), nil }

// Two writes would make two TLS records and with Nagle off two packets.
func TestWriteIsOneWrite(t *testing.T) {
	w := new(countingWriter)
	if err := Write(w, &Ping{}); err != nil || w.writes != 1 {
		t.Errorf("%d writes, %v", w.writes, err)
	}
	if err := Write(w, &Open{}); err == nil || w.writes != 1 {
		t.Errorf("a bad message was written: %v", err)
	}
}
