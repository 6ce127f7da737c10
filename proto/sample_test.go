package proto

import (
	"crypto/ed25519"
	"net/netip"
)

// Samples that the tests and the vectors are made of. Everything is derived
// from small numbers, so that a second implementation can derive it, too.

// sampleID is the ID of the key whose seed is 32 bytes n.
func sampleID(n byte) ID {
	seed := make([]byte, ed25519.SeedSize)
	fill(seed, n)
	return IDOf(ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey))
}

func sampleToken(n byte) (t Token)   { fill(t[:], n); return t }
func sampleSecret(n byte) (s Secret) { fill(s[:], n); return s }

func bytes16(n byte) []byte { t := sampleToken(n); return t[:] }

func fill(b []byte, n byte) {
	for i := range b {
		b[i] = n
	}
}

func sampleCandidate(kind Kind, addr string) Candidate {
	return NewCandidate(netip.MustParseAddrPort(addr), kind, 65535)
}

func sampleTranscript() *Transcript {
	return &Transcript{
		Introduction: sampleToken(3),
		PlanVersion:  1,
		Initiator: Party{
			ID: sampleID(1), Instance: sampleToken(1), RTT: 20_000,
			Observed:   sampleCandidate(Observed, "192.0.2.1:4000"),
			Candidates: []Candidate{sampleCandidate(Host, "10.0.0.2:4000"), sampleCandidate(Host, "[2001:db8::2]:4000")},
		},
		Responder: Party{
			ID: sampleID(2), Instance: sampleToken(2),
			Observed: sampleCandidate(Observed, "[2001:db8::5]:5000"),
		},
	}
}

// maximalTranscript has everything at its limit.
func maximalTranscript() *Transcript {
	t := sampleTranscript()
	t.PlanVersion = ^uint32(0)
	for _, p := range []*Party{&t.Initiator, &t.Responder} {
		p.RTT = ^uint32(0)
		p.Observed = sampleCandidate(Observed, "[ffff::ffff]:65535")
		p.Candidates = maximalCandidates()
	}
	return t
}

// natTranscript is one of two peers that know their NATs, one of them all of it.
func natTranscript() *Transcript {
	t := modesTranscript()
	t.PlanVersion = 3
	t.Initiator.NAT, t.Responder.NAT = sampleNAT(), maximalNAT()
	return t
}

// sampleNAT is what a peer may find out about a NAT that counts its ports down.
func sampleNAT() *NATReport {
	return &NATReport{
		Mapping: MappingAddressPortDependent, Allocation: AllocationSequential, Delta: -2, Confidence: 99,
		Samples: []uint16{40008, 40006, 40004}, Age: 1_500, Background: 2_500,
		Pooling: PoolingPaired, Filtering: FilteringAddressPortDependent, Unsolicited: AnswerReset, Crossing: AnswerAccepted,
		OnReset: PolicyDelete, Poisoned: TruthNo, Hairpin: AnswerDropped, Hops: 2, Proxied: TruthNo,
	}
}

// maximalNAT has everything at its limit.
func maximalNAT() *NATReport {
	r := &NATReport{
		Mapping: 255, Allocation: 255, Delta: -1 << 15, Low: 65535, High: 65535, Confidence: 100, Age: ^uint32(0), Background: ^uint32(0),
		Pooling: 255, Filtering: 255, Unsolicited: 255, Crossing: 255, OnReset: 255, Poisoned: 255, Hairpin: 255, Hops: 255, Proxied: 255,
	}
	for range MaxNATSamples {
		r.Samples = append(r.Samples, 65535)
	}
	return r
}

func maximalCandidates() (list []Candidate) {
	for i := range MaxCandidates {
		kind := Host
		if i >= MaxHostCandidates {
			kind = 255
		}
		list = append(list, sampleCandidate(kind, "[ffff::ffff]:65535"))
	}
	return list
}

// modesTranscript is one of two peers that cannot listen.
func modesTranscript() *Transcript {
	t := sampleTranscript()
	t.PlanVersion = 2
	t.Initiator.PortMode, t.Responder.PortMode = PortDialOnly, PortSequential
	return t
}

// noGuessTranscript is one of two peers of which the responder guesses no ports.
func noGuessTranscript() *Transcript {
	t := natTranscript()
	t.PlanVersion, t.Responder.NoGuess = 4, true
	return t
}

type namedMessage struct {
	name    string
	message Message
}

func sampleMessages() []namedMessage {
	transcript, err := sampleTranscript().Marshal()
	if err != nil {
		panic(err)
	}
	hosts := sampleTranscript().Initiator.Candidates
	return []namedMessage{
		{"Register, smallest", &Register{Instance: sampleToken(1), PlanVersion: 1}},
		{"Register, all fields", &Register{Instance: sampleToken(1), PlanVersion: 1, Answers: true, AnswersFor: []ID{sampleID(2), sampleID(3)}, Agent: "peerd 1.0 ✓"}},
		{"Registered, smallest", &Registered{Observed: sampleCandidate(Observed, "192.0.2.1:4000")}},
		{"Registered, all fields", &Registered{Observed: sampleCandidate(Observed, "[2001:db8::5]:5000"), ProbePorts: []uint16{7879, 65535}}},
		{"Introduce, without candidates", &Introduce{Request: 1, Peer: sampleID(2)}},
		{"Introduce", &Introduce{Request: ^uint32(0), Peer: sampleID(2), Candidates: hosts}},
		{"Introduce, waiting", &Introduce{Request: 3, Peer: sampleID(2), Wait: 60}},
		{"Offer", &Offer{Introduction: sampleToken(3), Initiator: sampleID(1)}},
		{"Answer, refusal", &Answer{Introduction: sampleToken(3)}},
		{"Answer, consent", &Answer{Introduction: sampleToken(3), Accept: true, Candidates: hosts}},
		{"Introduction, to the responder", &Introduction{Secret: sampleSecret(4), Transcript: transcript}},
		{"Introduction, to the initiator", &Introduction{Request: 7, Secret: sampleSecret(4), Transcript: transcript}},
		{"Declined", &Declined{Request: 7, Code: CodeOffline}},
		{"Ping", &Ping{N: 0}},
		{"Ping, largest", &Ping{N: ^uint64(0)}},
		{"Pong", &Pong{N: 24}},
		{"Failure", &Failure{Code: CodeReplaced, Text: "another process uses this key"}},
		{"Failure, unknown code", &Failure{Code: 65535}},
		{"Open", &Open{Target: "22"}},
		{"Opened", &Opened{}},
		{"Opened, refused", &Opened{Code: CodeNotExposed, Text: "22 is not exposed to you"}},
		{"Listen", &Listen{Bind: "127.0.0.1:0", Reply: "back"}},
		{"Listening", &Listening{Addr: "127.0.0.1:40122"}},
		{"Withdraw", &Withdraw{Request: 3}},
		{"Pairing", &Pairing{Nonce: sampleToken(8), Name: "home"}},
		{"Claim", sampleClaim()},
		{"Claim, without a name", &Claim{ID: sampleID(1), Signature: make([]byte, 64)}},
		{"Paired", &Paired{}},
		{"Paired, refused", &Paired{Code: CodeRefused, Text: "the ticket has been used"}},
		{"Listening, refused", &Listening{Code: CodeDialFailed, Text: "address already in use"}},
		{"Register, away for a while after its end", &Register{Instance: sampleToken(1), PlanVersion: 2, Answers: true, Away: 15}},
		{"Introduce, sequential", &Introduce{Request: 4, Peer: sampleID(2), PortMode: PortSequential}},
		{"Answer, consent, dial-only", &Answer{Introduction: sampleToken(3), Accept: true, PortMode: PortDialOnly}},
		{"Answer, unknown port mode", &Answer{Introduction: sampleToken(3), Accept: true, PortMode: 255}},
		{"Answer, busy", &Answer{Introduction: sampleToken(3), PortMode: PortSequential, Code: CodeBusy}},
		{"Registered, with a server that dials back", &Registered{
			Observed: sampleCandidate(Observed, "192.0.2.1:4000"), ProbePorts: []uint16{7879}, Alternate: []byte{203, 0, 113, 20},
			ProbeToken: bytes16(10), SilentPort: 40001, ClosedPort: 40002,
		}},
		{"DialBack", &DialBack{Request: 1, From: FromAlternate, To: sampleCandidate(Observed, "192.0.2.1:4000")}},
		{"DialedBack", &DialedBack{Request: 1, Answer: AnswerDropped}},
		{"DialedBack, not dialled", &DialedBack{Request: 2}},
		{"Introduce, behind a NAT", &Introduce{Request: 5, Peer: sampleID(2), NAT: sampleNAT()}},
		{"Introduce, knowing nothing", &Introduce{Request: 6, Peer: sampleID(2), NAT: &NATReport{}}},
		{"Introduce, guessing no ports", &Introduce{Request: 8, Peer: sampleID(2), NoGuess: true}},
		{"Answer, consent, guessing no ports", &Answer{Introduction: sampleToken(3), Accept: true, NAT: sampleNAT(), NoGuess: true}},
		{"Answer, consent, NAT report of a later version", &Answer{Introduction: sampleToken(3), Accept: true, NAT: maximalNAT()}},
	}
}

// sampleClaim is that of the peer with the ID of sampleID(1) to that of
// sampleID(2), with the ticket of sampleTicket.
func sampleClaim() *Claim {
	seed := make([]byte, ed25519.SeedSize)
	fill(seed, 1)
	text := ClaimText(sampleID(2), sampleTicket().OneTimeID(), sampleToken(8))
	return &Claim{ID: sampleID(1), Name: "trip", Signature: ed25519.Sign(ed25519.NewKeyFromSeed(seed), text)}
}

func sampleTicket() Ticket {
	t := Ticket{Server: ServerURL{Host: "203.0.113.7", Port: 7878, Key: sampleID(3)}, Creator: sampleID(2)}
	fill(t.Seed[:], 9)
	return t
}
