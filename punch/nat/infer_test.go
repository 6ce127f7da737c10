package nat

import (
	"net/netip"
	"testing"

	"github.com/peerd/peerd/proto"
)

// seen is a sight of the port 5000, at an outside endpoint.
func seen(outside string) Sight {
	if outside == "" {
		return Sight{} // a connection that failed
	}
	return Sight{Inside: netip.MustParseAddrPort("192.168.1.10:5000"), Outside: netip.MustParseAddrPort(outside)}
}

func TestMappingOf(t *testing.T) {
	const o = "198.51.100.1:"
	for name, c := range map[string]struct {
		first     string
		near, far []string
		again     string
		want      proto.NATMapping
	}{
		"no NAT":                      {"192.168.1.10:5000", nil, nil, "", proto.MappingNone},
		"nothing to compare":          {o + "5000", nil, nil, "", proto.MappingUnknown},
		"one address":                 {o + "6000", []string{o + "6000"}, nil, "", proto.MappingUnknown},
		"endpoint-independent":        {o + "6000", []string{o + "6000"}, []string{o + "6000"}, "", proto.MappingEndpointIndependent},
		"of several addresses":        {o + "6000", []string{"198.51.100.2:6000"}, []string{"198.51.100.3:6000"}, "", proto.MappingEndpointIndependent},
		"address-dependent":           {o + "6000", []string{o + "6000"}, []string{o + "6001", o + "6001"}, "", proto.MappingAddressDependent},
		"and on ports":                {o + "6000", []string{o + "6001"}, []string{o + "6002"}, o + "6001", proto.MappingAddressPortDependent},
		"and on ports, one address":   {o + "6000", []string{o + "6001"}, nil, o + "6001", proto.MappingAddressPortDependent},
		"and on ports, not repeated":  {o + "6000", []string{o + "6001"}, nil, "", proto.MappingAddressPortDependent},
		"per connection":              {o + "6000", []string{o + "6001"}, []string{o + "6002"}, o + "6003", proto.MappingPerConnection},
		"near connections failed":     {o + "6000", []string{""}, []string{o + "6000"}, "", proto.MappingUnknown},
		"far connections failed":      {o + "6000", []string{o + "6000"}, []string{""}, "", proto.MappingUnknown},
		"one of the near ones failed": {o + "6000", []string{"", o + "6000"}, []string{o + "6000"}, "", proto.MappingEndpointIndependent},
	} {
		v := views{first: seen(c.first), again: seen(c.again)}
		for _, s := range c.near {
			v.near = append(v.near, seen(s))
		}
		for _, s := range c.far {
			v.far = append(v.far, seen(s))
		}
		if got := mappingOf(v); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestPoolingOf(t *testing.T) {
	paired := sightsOf(1, 2, 3, 4, 5, 6, 7, 8)
	if got := poolingOf(paired); got != proto.PoolingPaired {
		t.Errorf("one address: %v", got)
	}
	if got := poolingOf(paired[:7]); got != proto.PoolingUnknown {
		t.Errorf("one address, seven times: %v", got)
	}
	other := append([]Sight{{}, seen("198.51.100.9:1")}, paired[:1]...)
	if got := poolingOf(other); got != proto.PoolingArbitrary {
		t.Errorf("two addresses: %v", got)
	}
	for i := range paired {
		paired[i].Outside = paired[i].Inside
	}
	if got := poolingOf(paired); got != proto.PoolingUnknown {
		t.Errorf("no NAT: %v", got)
	}
}

func TestFilteringOf(t *testing.T) {
	const (
		unknown  = proto.AnswerUnknown
		accepted = proto.AnswerAccepted
		dropped  = proto.AnswerDropped
		reset    = proto.AnswerReset
		icmp     = proto.AnswerUnreachable

		eif  = proto.FilteringEndpointIndependent
		adf  = proto.FilteringAddressDependent
		apdf = proto.FilteringAddressPortDependent
		none = proto.FilteringUnknown
	)
	for _, c := range []struct {
		near, far   proto.NATAnswer
		deaf        bool
		want        proto.NATFiltering
		unsolicited proto.NATAnswer
	}{
		{accepted, accepted, false, eif, unknown},
		{dropped, accepted, false, eif, dropped}, // one was lost
		{accepted, dropped, false, adf, dropped},
		{accepted, reset, false, adf, reset},
		{dropped, dropped, false, apdf, dropped},
		{reset, reset, false, apdf, reset},
		{icmp, icmp, false, apdf, icmp},
		{reset, dropped, false, apdf, dropped}, // the RSTs are limited
		// With one address only the narrowest filter shows.
		{accepted, unknown, false, none, unknown},
		{dropped, unknown, false, apdf, dropped},
		{reset, unknown, false, apdf, reset},
		{unknown, unknown, false, none, unknown},
		{unknown, dropped, false, none, dropped},
		// A host without a listener answers with a RST, as a NAT may.
		{reset, reset, true, none, unknown},
		{dropped, dropped, true, apdf, dropped},
		{icmp, icmp, true, apdf, icmp},
		{accepted, accepted, true, eif, unknown},
		{reset, dropped, true, none, dropped},
	} {
		k := knocks{near: c.near, far: c.far, listens: !c.deaf}
		if got := filteringOf(k); got != c.want {
			t.Errorf("near %v, far %v, deaf %v: %v, want %v", c.near, c.far, c.deaf, got, c.want)
		}
		if got := unsolicitedOf(k); got != c.unsolicited {
			t.Errorf("near %v, far %v, deaf %v: unsolicited %v, want %v", c.near, c.far, c.deaf, got, c.unsolicited)
		}
	}
}

func TestOnResetOf(t *testing.T) {
	const (
		accepted = proto.AnswerAccepted
		dropped  = proto.AnswerDropped
		reset    = proto.AnswerReset
		apdf     = proto.FilteringAddressPortDependent
	)
	for _, c := range []struct {
		back, unsolicited, crossing proto.NATAnswer
		filtering                   proto.NATFiltering
		repeated                    proto.NATAnswer
		want                        proto.NATErrorPolicy
	}{
		{accepted, dropped, accepted, apdf, reset, proto.PolicyKeep},
		{dropped, dropped, accepted, apdf, reset, proto.PolicyDelete},
		{reset, reset, accepted, apdf, reset, proto.PolicyDelete},
		{dropped, dropped, accepted, apdf, dropped, proto.PolicyBlock},
		{dropped, dropped, dropped, apdf, reset, proto.PolicyUnknown}, // it would be dropped in any case
		{dropped, reset, accepted, apdf, reset, proto.PolicyUnknown},
		{accepted, dropped, accepted, proto.FilteringAddressDependent, reset, proto.PolicyUnknown},
		{proto.AnswerUnknown, dropped, accepted, apdf, reset, proto.PolicyUnknown},
	} {
		if got := onResetOf(c.back, c.unsolicited, c.crossing, c.filtering, c.repeated); got != c.want {
			t.Errorf("%+v: %v", c, got)
		}
	}
}

func TestProxiedOf(t *testing.T) {
	for _, c := range []struct {
		closed, silent proto.NATAnswer
		want           proto.NATTruth
	}{
		{proto.AnswerReset, proto.AnswerDropped, proto.TruthNo},
		{proto.AnswerReset, proto.AnswerAccepted, proto.TruthYes},
		{proto.AnswerAccepted, proto.AnswerDropped, proto.TruthYes},
		{proto.AnswerDropped, proto.AnswerDropped, proto.TruthUnknown},
		{proto.AnswerUnknown, proto.AnswerUnknown, proto.TruthUnknown},
	} {
		if got := proxiedOf(c.closed, c.silent); got != c.want {
			t.Errorf("closed %v, silent %v: %v, want %v", c.closed, c.silent, got, c.want)
		}
	}
}

func TestHopsOf(t *testing.T) {
	for _, c := range []struct {
		routers []string // "" for one that does not answer
		want    uint8
	}{
		{[]string{"192.168.1.1", "203.0.113.1"}, 2},
		{[]string{"192.168.1.1", "100.64.0.1", "203.0.113.1"}, 3},
		{[]string{"192.168.1.1", "100.64.0.1", "198.51.100.1", "203.0.113.1"}, 4}, // the carrier's NAT has our address
		{[]string{"192.168.1.1", "203.0.113.1", "10.0.0.1"}, 2},                   // private beyond the Internet's border
		{[]string{"fd00::1", "2001:db8::1"}, 2},
		{[]string{"192.168.1.1", "", "203.0.113.1"}, 0},
		{[]string{"", "203.0.113.1"}, 0},
		{[]string{"203.0.113.1"}, 0},
		{[]string{"192.168.1.1"}, 0},
		{nil, 0},
	} {
		var routers []netip.Addr
		for _, r := range c.routers {
			addr, _ := netip.ParseAddr(r)
			routers = append(routers, addr)
		}
		if got := hopsOf(routers, outside); got != c.want {
			t.Errorf("%q: %d, want %d", c.routers, got, c.want)
		}
	}
}
