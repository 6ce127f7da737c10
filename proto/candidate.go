package proto

import (
	"encoding/binary"
	"fmt"
	"net/netip"
)

// Kind says where a candidate address was learned.
type Kind uint8

// The kinds of candidates. The values are part of the wire format.
const (
	// Host is an address of one of the peer's own interfaces (RFC 8445).
	Host Kind = 1
	// Observed is the endpoint that the rendezvous server saw: a
	// server-reflexive candidate (RFC 8445). Only the server states it.
	Observed Kind = 2
)

// String returns the kind as it is written in output and in logs.
func (k Kind) String() string {
	switch k {
	case Host:
		return "host"
	case Observed:
		return "observed"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Candidate is one address at which a peer might be reached. Candidates are
// comparable. They come from the other peer and from the server and are not to
// be believed: package punch decides which of them may be dialled.
//
// On the wire a candidate is a byte string:
//
//	offset  size   field
//	0       1      kind
//	1       4      priority, big endian
//	5       2      port, big endian
//	7       4, 16  IPv4 or IPv6 address
type Candidate struct {
	Addr     netip.AddrPort `json:"addr"`
	Kind     Kind           `json:"kind"`
	Priority uint32         `json:"priority"` // higher is tried first
}

const candidateFixed = 7

// NewCandidate returns a candidate with the priority of RFC 6544, section 4.2:
// type preference, then local preference, where preferred is higher for the
// address that is to be tried first among those of one kind.
func NewCandidate(addr netip.AddrPort, kind Kind, preferred uint16) Candidate {
	return Candidate{
		Addr:     netip.AddrPortFrom(addr.Addr().Unmap().WithZone(""), addr.Port()),
		Kind:     kind,
		Priority: typePreference(kind)<<24 | uint32(preferred)<<8 | 255,
	}
}

// typePreference is RFC 8445's recommendation, 5.1.2.2.
func typePreference(k Kind) uint32 {
	if k == Host {
		return 126
	}
	return 100
}

// String returns the candidate as "host 192.168.1.2:4000".
func (c Candidate) String() string { return c.Kind.String() + " " + c.Addr.String() }

// check enforces what makes an address one that a SYN could be sent to, in its
// only form. The unspecified address is none: connect takes it for loopback.
func (c Candidate) check() error {
	addr := c.Addr.Addr()
	if !addr.IsValid() || addr.Zone() != "" || addr.Is4In6() || addr.IsUnspecified() || c.Addr.Port() == 0 {
		return fmt.Errorf("%w: candidate address %s", ErrMalformed, c.Addr)
	}
	if c.Kind == 0 {
		return fmt.Errorf("%w: candidate without a kind", ErrMalformed)
	}
	return nil
}

// MarshalBinary returns the wire form. It fails with ErrMalformed if the
// address is not valid.
func (c Candidate) MarshalBinary() ([]byte, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	addr := c.Addr.Addr()
	b := append(make([]byte, 0, candidateFixed+16), byte(c.Kind))
	b = binary.BigEndian.AppendUint32(b, c.Priority)
	b = binary.BigEndian.AppendUint16(b, c.Addr.Port())
	return append(b, addr.AsSlice()...), nil
}

// UnmarshalBinary parses the wire form. IPv4-mapped IPv6 addresses are
// malformed: an address has one form only. So are unspecified addresses, port
// 0 and kind 0. Kinds that this version does not know are kept, so that a newer
// peer's candidates do not break an older one.
func (c *Candidate) UnmarshalBinary(b []byte) error {
	if len(b) != candidateFixed+4 && len(b) != candidateFixed+16 {
		return fmt.Errorf("%w: candidate of %d bytes", ErrMalformed, len(b))
	}
	addr, _ := netip.AddrFromSlice(b[candidateFixed:])
	parsed := Candidate{
		Kind:     Kind(b[0]),
		Priority: binary.BigEndian.Uint32(b[1:]),
		Addr:     netip.AddrPortFrom(addr, binary.BigEndian.Uint16(b[5:])),
	}
	if err := parsed.check(); err != nil {
		return err
	}
	*c = parsed
	return nil
}

// UnmarshalCBOR takes the byte string of the wire form.
func (c *Candidate) UnmarshalCBOR(b []byte) error { return fromByteString(c, b) }

// checkCandidates enforces the limits on one peer's own list.
func checkCandidates(list []Candidate) error {
	if len(list) > MaxCandidates {
		return fmt.Errorf("%w: %d candidates", ErrTooLarge, len(list))
	}
	hosts, port := 0, uint16(0)
	for _, c := range list {
		if err := c.check(); err != nil {
			return err
		}
		if c.Kind == Observed {
			return fmt.Errorf("%w: a peer's own %v", ErrMalformed, c)
		}
		if c.Kind != Host {
			continue
		}
		if hosts++; hosts > MaxHostCandidates {
			return fmt.Errorf("%w: %d host candidates", ErrTooLarge, hosts)
		}
		if port != 0 && c.Addr.Port() != port {
			return fmt.Errorf("%w: host candidates on different ports", ErrMalformed)
		}
		port = c.Addr.Port()
	}
	return nil
}
