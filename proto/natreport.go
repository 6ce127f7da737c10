package proto

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// NATReport is what a peer has measured of the NATs in front of it, for TCP. It
// is the peer's own statement: it decides what the peer's own introductions try
// first, and gives nobody more than the plan's bounds. The zero value of every
// field is "unknown", and a value that a version does not know counts as that.
type NATReport struct {
	// Mapping says for which destinations the outside port stays (RFC 4787, 4.1).
	Mapping NATMapping `cbor:"1,keyasint,omitempty" json:"mapping,omitempty"`
	// Allocation says how a new mapping's outside port is chosen.
	Allocation NATAllocation `cbor:"2,keyasint,omitempty" json:"allocation,omitempty"`
	// Delta is the step of NATSequential from one mapping to the next; not 0 there.
	Delta int16 `cbor:"3,keyasint,omitempty" json:"delta,omitempty"`
	// Low and High are the least and the greatest outside port that a mapping may
	// get, for NATBlock and NATRandom, as far as it is known: Low ≤ High, and both
	// are 0 where it is not.
	Low  uint16 `cbor:"4,keyasint,omitempty" json:"low,omitempty"`
	High uint16 `cbor:"5,keyasint,omitempty" json:"high,omitempty"`
	// Confidence is how sure the peer is of Allocation, in percent.
	Confidence uint8 `cbor:"6,keyasint,omitempty" json:"confidence,omitempty"`
	// Samples are the outside ports of the latest mappings, made one after the
	// other, newest last; at most MaxNATSamples. Age is how long before the
	// statement was made the last of them was, in microseconds.
	Samples []uint16 `cbor:"7,keyasint,omitempty" json:"samples,omitempty"`
	Age     uint32   `cbor:"8,keyasint,omitempty" json:"age_us,omitempty"`
	// Background is how many mappings a second others make that share a
	// NATSequential, in thousandths.
	Background uint32 `cbor:"9,keyasint,omitempty" json:"background_milli,omitempty"`
	// Pooling says whether all mappings have one outside address (RFC 4787, 4.1).
	Pooling NATPooling `cbor:"10,keyasint,omitempty" json:"pooling,omitempty"`
	// Filtering says who may send to a mapping (RFC 4787, 5).
	Filtering NATFiltering `cbor:"11,keyasint,omitempty" json:"filtering,omitempty"`
	// Unsolicited is what a SYN meets that nothing lets in.
	Unsolicited NATAnswer `cbor:"12,keyasint,omitempty" json:"unsolicited,omitempty"`
	// Crossing is what a SYN meets that comes from where a SYN has been sent, and
	// is not answered (simultaneous open; RFC 5382, REQ-2).
	Crossing NATAnswer `cbor:"13,keyasint,omitempty" json:"crossing,omitempty"`
	// OnReset is what a RST from outside does to a mapping whose SYN is unanswered.
	OnReset NATErrorPolicy `cbor:"14,keyasint,omitempty" json:"on_reset,omitempty"`
	// Poisoned says whether an inbound SYN that comes before the outbound one
	// takes the mapping's outside port from it.
	Poisoned NATTruth `cbor:"15,keyasint,omitempty" json:"poisoned,omitempty"`
	// Hairpin is what a SYN to the outside endpoint of another host behind the
	// same NAT meets (RFC 4787, 6).
	Hairpin NATAnswer `cbor:"16,keyasint,omitempty" json:"hairpin,omitempty"`
	// Hops is the least TTL with which a SYN gets past the last of the peer's own
	// NATs, carriers' included: 2 behind a single one, 1 without any. A quiet dial
	// with that TTL opens all of them, and ends at the next router.
	Hops uint8 `cbor:"17,keyasint,omitempty" json:"hops,omitempty"`
	// Proxied says whether something on the way completes connections by itself.
	Proxied NATTruth `cbor:"18,keyasint,omitempty" json:"proxied,omitempty"`
}

// MaxNATSamples bounds NATReport.Samples.
const MaxNATSamples = 16

// The enumerations below are numbers on the wire, and their names in JSON.

// NATMapping is a mapping behaviour (RFC 4787, section 4.1; RFC 5382, 4.1).
type NATMapping uint8

// The mapping behaviours. The values are part of the wire format.
const (
	MappingUnknown              NATMapping = 0
	MappingNone                 NATMapping = 1 // no NAT: the host has the address that others see
	MappingEndpointIndependent  NATMapping = 2
	MappingAddressDependent     NATMapping = 3
	MappingAddressPortDependent NATMapping = 4
	MappingPerConnection        NATMapping = 5 // another port even for the same destination
)

// String is the term of RFC 4787.
func (m NATMapping) String() string { return natName(m, mappingNames) }

var mappingNames = []string{"unknown", "none", "endpoint-independent", "address-dependent", "address-and-port-dependent", "per-connection"}

// MarshalText implements encoding.TextMarshaler.
func (m NATMapping) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (m *NATMapping) UnmarshalText(text []byte) error { return parseNATName(m, text, mappingNames) }

// NATAllocation is how the outside port of a new mapping is chosen.
type NATAllocation uint8

// The allocations. The values are part of the wire format.
const (
	AllocationUnknown    NATAllocation = 0
	AllocationPreserving NATAllocation = 1 // the inside port, where that is free
	AllocationSequential NATAllocation = 2 // the last mapping's plus Delta
	AllocationBlock      NATAllocation = 3 // at random from Low to High, a small part of all ports
	AllocationRandom     NATAllocation = 4 // at random
)

// String names the allocation.
func (a NATAllocation) String() string { return natName(a, allocationNames) }

var allocationNames = []string{"unknown", "preserving", "sequential", "block", "random"}

// MarshalText implements encoding.TextMarshaler.
func (a NATAllocation) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *NATAllocation) UnmarshalText(text []byte) error {
	return parseNATName(a, text, allocationNames)
}

// NATPooling is an address pooling behaviour (RFC 4787, section 4.1).
type NATPooling uint8

// The pooling behaviours. The values are part of the wire format.
const (
	PoolingUnknown   NATPooling = 0
	PoolingPaired    NATPooling = 1
	PoolingArbitrary NATPooling = 2
)

// String is the term of RFC 4787.
func (p NATPooling) String() string { return natName(p, poolingNames) }

var poolingNames = []string{"unknown", "paired", "arbitrary"}

// MarshalText implements encoding.TextMarshaler.
func (p NATPooling) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *NATPooling) UnmarshalText(text []byte) error { return parseNATName(p, text, poolingNames) }

// NATFiltering is a filtering behaviour (RFC 4787, section 5; RFC 5382, 4.3).
type NATFiltering uint8

// The filtering behaviours. The values are part of the wire format.
const (
	FilteringUnknown              NATFiltering = 0
	FilteringEndpointIndependent  NATFiltering = 1
	FilteringAddressDependent     NATFiltering = 2
	FilteringAddressPortDependent NATFiltering = 3
)

// String is the term of RFC 4787.
func (f NATFiltering) String() string { return natName(f, filteringNames) }

var filteringNames = []string{"unknown", "endpoint-independent", "address-dependent", "address-and-port-dependent"}

// MarshalText implements encoding.TextMarshaler.
func (f NATFiltering) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (f *NATFiltering) UnmarshalText(text []byte) error { return parseNATName(f, text, filteringNames) }

// NATAnswer is what becomes of a SYN.
type NATAnswer uint8

// The answers. The values are part of the wire format.
const (
	AnswerUnknown     NATAnswer = 0
	AnswerAccepted    NATAnswer = 1 // it is let in
	AnswerDropped     NATAnswer = 2
	AnswerReset       NATAnswer = 3 // a RST
	AnswerUnreachable NATAnswer = 4 // an ICMP error
	AnswerDelayed     NATAnswer = 5 // an ICMP error after some seconds (RFC 5382, REQ-4)
)

// String says the answer in words.
func (a NATAnswer) String() string { return natName(a, answerNames) }

var answerNames = []string{"unknown", "accepted", "dropped", "RST", "ICMP error", "ICMP error after seconds"}

// MarshalText implements encoding.TextMarshaler.
func (a NATAnswer) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *NATAnswer) UnmarshalText(text []byte) error { return parseNATName(a, text, answerNames) }

// NATErrorPolicy is what an error does to a mapping whose SYN is unanswered.
type NATErrorPolicy uint8

// The policies. The values are part of the wire format.
const (
	PolicyUnknown NATErrorPolicy = 0
	PolicyKeep    NATErrorPolicy = 1
	PolicyDelete  NATErrorPolicy = 2
	PolicyBlock   NATErrorPolicy = 3 // deleted, and nothing passes for a while
)

// String says the policy in words.
func (p NATErrorPolicy) String() string { return natName(p, policyNames) }

var policyNames = []string{"unknown", "kept", "deleted", "deleted and blocked"}

// MarshalText implements encoding.TextMarshaler.
func (p NATErrorPolicy) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (p *NATErrorPolicy) UnmarshalText(text []byte) error { return parseNATName(p, text, policyNames) }

// NATTruth is something that is so, is not, or is not known.
type NATTruth uint8

// The truths. The values are part of the wire format.
const (
	TruthUnknown NATTruth = 0
	TruthNo      NATTruth = 1
	TruthYes     NATTruth = 2
)

// String is "unknown", "no" or "yes".
func (t NATTruth) String() string { return natName(t, truthNames) }

var truthNames = []string{"unknown", "no", "yes"}

// MarshalText implements encoding.TextMarshaler.
func (t NATTruth) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (t *NATTruth) UnmarshalText(text []byte) error { return parseNATName(t, text, truthNames) }

// natName names a value; one that this version does not know is unknown.
func natName[T ~uint8](v T, names []string) string {
	if int(v) < len(names) {
		return names[v]
	}
	return fmt.Sprintf("unknown (%d)", uint8(v))
}

// parseNATName is the inverse of natName.
func parseNATName[T ~uint8](v *T, text []byte, names []string) error {
	if i := slices.Index(names, string(text)); i >= 0 {
		*v = T(i)
		return nil
	}
	number, found := strings.CutPrefix(string(text), "unknown (")
	number, closed := strings.CutSuffix(number, ")")
	n, err := strconv.ParseUint(number, 10, 8)
	if !found || !closed || err != nil {
		return fmt.Errorf("%w: %q is none of %q", ErrMalformed, text, names)
	}
	*v = T(n)
	return nil
}

// check enforces what the encoding does not express.
func (r *NATReport) check() error {
	switch {
	case r == nil:
		return nil
	case len(r.Samples) > MaxNATSamples:
		return fmt.Errorf("%w: %d NAT samples", ErrTooLarge, len(r.Samples))
	case r.Low > r.High || (r.Low == 0) != (r.High == 0):
		return fmt.Errorf("%w: NAT ports from %d to %d", ErrMalformed, r.Low, r.High)
	case r.Allocation == AllocationSequential && r.Delta == 0:
		return fmt.Errorf("%w: sequential NAT ports with step 0", ErrMalformed)
	case r.Confidence > 100:
		return fmt.Errorf("%w: confidence of %d percent", ErrMalformed, r.Confidence)
	}
	for _, p := range r.Samples {
		if p == 0 {
			return fmt.Errorf("%w: NAT sample 0", ErrMalformed)
		}
	}
	return nil
}
