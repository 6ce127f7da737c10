package punch

import (
	"errors"
	"net/netip"
	"slices"
	"testing"

	"github.com/peerd/peerd/proto"
)

// TestAdmission goes through the rules of who may be dialled, as a host in
// 192.168.1.0/24 with a server on the Internet.
func TestAdmission(t *testing.T) {
	home := Admission{
		OnLink:   []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24"), netip.MustParsePrefix("2001:db8:1::/64")},
		Gateways: []netip.Addr{netip.MustParseAddr("192.168.1.1"), netip.MustParseAddr("2001:db8:1::1")},
		Server:   netip.MustParseAddr("203.0.113.7"),
	}
	office, laptop := home, home
	office.Server = netip.MustParseAddr("10.9.8.7")
	laptop.Server = netip.MustParseAddr("127.0.0.1")
	const observed, host = proto.Observed, proto.Host
	cases := []struct {
		from  Admission
		kind  proto.Kind
		addr  string
		once  bool
		admit bool
	}{
		{home, observed, "198.51.100.1:4000", false, true},
		{home, observed, "[2001:db8:9::1]:4000", false, true},
		{home, observed, "198.51.100.1:0", false, false},
		{home, observed, "127.0.0.1:22", false, false},
		{home, observed, "[::1]:22", false, false},
		{home, observed, "192.168.1.9:22", false, false}, // a lying server aims at our LAN
		{home, observed, "10.0.0.1:22", false, false},
		{home, observed, "100.64.3.4:22", false, false},
		{home, observed, "[fd00::1]:22", false, false},
		{home, observed, "169.254.1.1:22", false, false},
		{home, observed, "224.0.0.1:22", false, false},
		{home, observed, "255.255.255.255:22", false, false},
		{home, observed, "0.0.0.0:22", false, false},
		{home, observed, "[2001:db8:1::1]:22", false, false}, // gateway
		{office, observed, "10.1.1.1:22", false, true},
		{office, observed, "192.168.1.9:22", false, true},
		{office, observed, "192.168.1.1:22", false, false}, // gateway
		{office, observed, "127.0.0.1:22", false, false},
		{laptop, observed, "127.0.0.1:4000", false, true},
		{laptop, host, "127.0.0.1:4000", false, false},
		{home, host, "192.168.1.9:4000", false, true},
		{home, host, "192.168.1.1:4000", false, false},   // gateway
		{home, host, "192.168.1.255:4000", false, false}, // broadcast
		{home, host, "192.168.1.0:4000", false, false},
		{home, host, "192.168.2.9:4000", false, false}, // not on-link
		{home, host, "198.51.100.1:4000", false, false},
		{home, host, "169.254.1.1:4000", false, false},
		{home, host, "[fe80::1]:4000", false, false},
		{home, host, "[2001:db8:1::9]:4000", false, true},
		{home, host, "[2001:db8:9::9]:4000", false, false}, // a third party, with more than one SYN
		{home, host, "[2001:db8:9::9]:4000", true, true},
		{home, host, "198.51.100.1:4000", true, false},
		{home, host, "[fd00::9]:4000", true, false},
	}
	for _, c := range cases {
		step := Step{To: proto.Candidate{Kind: c.kind, Addr: netip.MustParseAddrPort(c.addr)}, Once: c.once}
		err := c.from.Admit(step)
		var forbidden *ForbiddenError
		if (err == nil) != c.admit || err != nil && (!errors.As(err, &forbidden) || forbidden.Candidate != step.To) {
			t.Errorf("server %v, %v, once %v: %v, want admitted %v", c.from.Server, step.To, c.once, err, c.admit)
		}
	}
}

func TestHostCandidates(t *testing.T) {
	var h HostNetwork
	for _, a := range []string{"fd00::1", "192.168.1.2", "10.0.0.1", "10.0.0.1", "2001:db8::1", "172.16.0.1", "172.17.0.1", "172.18.0.1", "172.19.0.1", "172.20.0.1"} {
		h.Addrs = append(h.Addrs, netip.MustParseAddr(a))
	}
	list := h.Candidates(4000)
	if len(list) != proto.MaxHostCandidates {
		t.Fatalf("%d candidates, want %d", len(list), proto.MaxHostCandidates)
	}
	if first := list[0]; first.Addr != netip.MustParseAddrPort("10.0.0.1:4000") || first.Kind != proto.Host {
		t.Errorf("first candidate %v", first)
	}
	if !slices.IsSortedFunc(list, func(a, b proto.Candidate) int { return int(b.Priority) - int(a.Priority) }) {
		t.Errorf("not in order of priority: %v", list)
	}
}

// This host's own networks can be read, without loopback or link-local.
func TestReadHostNetwork(t *testing.T) {
	h, err := ReadHostNetwork()
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range h.Addrs {
		if !a.IsGlobalUnicast() || !h.OnLink[i].Contains(a) {
			t.Errorf("address %v in %v", a, h.OnLink[i])
		}
	}
}
