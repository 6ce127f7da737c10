package proto

import (
	"errors"
	"net/netip"
	"testing"
)

func TestNewCandidateNormalises(t *testing.T) {
	want := NewCandidate(netip.MustParseAddrPort("192.0.2.1:4000"), Host, 0)
	if got := NewCandidate(netip.MustParseAddrPort("[::ffff:192.0.2.1]:4000"), Host, 0); got != want {
		t.Errorf("%v differs from %v", got, want)
	}
	if got := NewCandidate(netip.MustParseAddrPort("[fe80::1%eth0]:4000"), Host, 0); got.Addr.Addr().Zone() != "" {
		t.Errorf("%v has a zone", got)
	}
}

// RFC 8445, section 5.1.2.1: type preference, local preference, component.
func TestPriority(t *testing.T) {
	addr := netip.MustParseAddrPort("192.0.2.1:4000")
	for _, c := range []struct {
		kind      Kind
		preferred uint16
		want      uint32
	}{
		{Host, 65535, 126<<24 | 65535<<8 | 255},
		{Host, 0, 126<<24 | 255},
		{Observed, 65535, 100<<24 | 65535<<8 | 255},
	} {
		if got := NewCandidate(addr, c.kind, c.preferred).Priority; got != c.want {
			t.Errorf("%v, %d: %d, want %d", c.kind, c.preferred, got, c.want)
		}
	}
}

func TestCandidateString(t *testing.T) {
	for want, c := range map[string]Candidate{
		"host 192.168.1.2:4000":       sampleCandidate(Host, "192.168.1.2:4000"),
		"observed [2001:db8::1]:4000": sampleCandidate(Observed, "[2001:db8::1]:4000"),
		"kind(9) 192.168.1.2:4000":    sampleCandidate(9, "192.168.1.2:4000"),
	} {
		if c.String() != want {
			t.Errorf("%q, want %q", c, want)
		}
	}
}

func TestMarshalBadCandidate(t *testing.T) {
	for _, c := range []Candidate{
		{},
		{Kind: Host},
		{Addr: netip.MustParseAddrPort("192.0.2.1:4000")},
		{Kind: Host, Addr: netip.MustParseAddrPort("192.0.2.1:0")},
		{Kind: Host, Addr: netip.MustParseAddrPort("0.0.0.0:4000")},
		{Kind: Host, Addr: netip.MustParseAddrPort("[::]:4000")},
		{Kind: Host, Addr: netip.MustParseAddrPort("[::ffff:192.0.2.1]:4000")},
		{Kind: Host, Addr: netip.MustParseAddrPort("[fe80::1%eth0]:4000")},
	} {
		if b, err := c.MarshalBinary(); !errors.Is(err, ErrMalformed) {
			t.Errorf("%v: %x, %v", c, b, err)
		}
		if _, err := Append(nil, &Introduce{Request: 1, Peer: sampleID(1), Candidates: []Candidate{c}}); !errors.Is(err, ErrMalformed) {
			t.Errorf("%v in a message: %v", c, err)
		}
	}
}

func TestCheckCandidates(t *testing.T) {
	host := func(addr string) Candidate { return sampleCandidate(Host, addr) }
	repeat := func(n int, c Candidate) (list []Candidate) {
		for range n {
			list = append(list, c)
		}
		return list
	}
	future := sampleCandidate(3, "192.0.2.1:4000")
	cases := []struct {
		name string
		list []Candidate
		want error
	}{
		{"none", nil, nil},
		{"all that is allowed", maximalCandidates(), nil},
		{"unknown kinds on many ports", []Candidate{future, sampleCandidate(4, "192.0.2.1:5000")}, nil},
		{"9 hosts", repeat(MaxHostCandidates+1, host("10.0.0.1:4000")), ErrTooLarge},
		{"17 in all", repeat(MaxCandidates+1, future), ErrTooLarge},
		{"two ports", []Candidate{host("10.0.0.1:4000"), future, host("10.0.0.2:4001")}, ErrMalformed},
		{"own observation", []Candidate{sampleCandidate(Observed, "192.0.2.1:4000")}, ErrMalformed},
	}
	for _, c := range cases {
		if err := checkCandidates(c.list); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestUnmarshalKeepsCandidateOnError(t *testing.T) {
	want := sampleCandidate(Host, "192.0.2.1:4000")
	c := want
	if err := c.UnmarshalBinary(make([]byte, candidateFixed+4)); err == nil || c != want {
		t.Errorf("%v, %v", c, err)
	}
}

func FuzzCandidate(f *testing.F) {
	for _, addr := range []string{"192.0.2.1:4000", "[2001:db8::1]:1"} {
		b, _ := sampleCandidate(Host, addr).MarshalBinary()
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var c, again Candidate
		if c.UnmarshalBinary(b) != nil {
			return
		}
		out, err := c.MarshalBinary()
		if err != nil || string(out) != string(b) {
			t.Fatalf("%x became %x, %v", b, out, err)
		}
		if err := again.UnmarshalBinary(out); err != nil || again != c {
			t.Errorf("%v became %v, %v", c, again, err)
		}
		if NewCandidate(c.Addr, c.Kind, 0).Addr != c.Addr {
			t.Errorf("%v is not normal", c)
		}
	})
}
