//go:build linux

package natlab

import (
	"testing"
	"time"
)

// expectations is what each profile must look like from outside, whatever it is made of.
var expectations = map[string]Behaviour{
	"public": {Filtering: EIF, Unsolicited: Reset, InboundAfterOutbound: Accepted, Hairpin: Accepted},

	"linux-drop": {Translated: true, InboundAfterOutbound: Accepted, Hairpin: Reset},
	"linux-open": {Translated: true, Unsolicited: Reset, InboundAfterOutbound: Accepted, Hairpin: Reset},
	"openwrt":    {Translated: true, Unsolicited: Reset, Limited: true, InboundAfterOutbound: Accepted, Hairpin: Reset},
	"linux-icmp": {Translated: true, Unsolicited: Unreachable, InboundAfterOutbound: Accepted, Hairpin: Reset},
	"linux-random": {Translated: true, Mapping: PerConnection, Allocation: Random, InboundAfterOutbound: Accepted,
		Hairpin: Reset},

	"user-drop":     {Translated: true, InboundAfterOutbound: Accepted},
	"user-rst":      {Translated: true, Unsolicited: Reset, InboundAfterOutbound: Accepted},
	"user-icmp":     {Translated: true, Unsolicited: Unreachable, InboundAfterOutbound: Accepted},
	"user-fullcone": {Translated: true, Filtering: EIF, InboundAfterOutbound: Accepted},
	"user-sym-seq":  {Translated: true, Mapping: APDM, Allocation: Sequential, InboundAfterOutbound: Accepted},
	"user-sym-random": {Translated: true, Mapping: APDM, Allocation: Random,
		InboundAfterOutbound: Accepted},
	"user-cgn-eim": {Translated: true, Allocation: Block, Filtering: EIF, InboundAfterOutbound: Accepted},
}

func TestProbeProfiles(t *testing.T) {
	Require(t)
	for _, p := range Profiles() {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			want, ok := expectations[p.Name]
			if !ok {
				t.Fatal("no expectation")
			}
			if got := probe(t, Config{A: p}); got != want {
				t.Errorf("\n got %v\nwant %v", got, want)
			}
		})
	}
}

// TestProbeSeesMutations guards against a probe that can't fail: each change of a profile must show.
func TestProbeSeesMutations(t *testing.T) {
	Require(t)
	base := expectations["user-drop"]
	for _, m := range []struct {
		name   string
		nat    NAT
		change func(*Behaviour)
	}{
		{"mapping", NAT{Mapping: ADM, Allocation: Allocation{Kind: Sequential, Delta: 2}},
			func(b *Behaviour) { b.Mapping, b.Allocation = ADM, Preserving }},
		{"filtering", NAT{Filtering: ADF}, func(b *Behaviour) { b.Filtering = ADF }},
		{"limit", NAT{Unsolicited: Unsolicited{Answer: Reset, Rate: 5, Burst: 9}},
			func(b *Behaviour) { b.Unsolicited, b.Limited = Reset, true }},
		{"strict", NAT{InboundAfterOutbound: DropInbound}, func(b *Behaviour) { b.InboundAfterOutbound = Silent }},
		{"refusing", NAT{InboundAfterOutbound: ResetInbound}, func(b *Behaviour) { b.InboundAfterOutbound = Reset }},
		{"hairpin", NAT{Hairpin: HairpinExternal}, func(b *Behaviour) { b.Hairpin = Accepted }},
		{"per connection", NAT{Mapping: PerConnection, Allocation: Allocation{Kind: Sequential}},
			func(b *Behaviour) { b.Mapping, b.Allocation = PerConnection, Sequential }},
	} {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			want := base
			m.change(&want)
			got := probe(t, Config{A: Custom(m.name, m.nat)})
			if m.name == "mapping" {
				// All samples of the allocation go to one address: ADM gives each inside port its own, two apart.
				want.Allocation = Sequential
			}
			if got != want || got == base {
				t.Errorf("\n got %v\nwant %v", got, want)
			}
		})
	}
	t.Run("kernel rules", func(t *testing.T) {
		t.Parallel()
		p := profile(t, "linux-drop")
		p.rules.unsolicited = ruleLimited
		if got := probe(t, Config{A: p}); got == expectations["linux-drop"] || got != expectations["openwrt"] {
			t.Errorf("linux-drop with openwrt's rule looks like %v", got)
		}
	})
}

// TestProbeWithDelay makes sure that the probe does not take delay for silence.
func TestProbeWithDelay(t *testing.T) {
	Require(t)
	t.Parallel()
	if got := probe(t, Config{A: profile(t, "user-rst"), RTT: 100 * time.Millisecond}); got != expectations["user-rst"] {
		t.Error(got)
	}
}

func probe(t *testing.T, cfg Config) Behaviour {
	t.Helper()
	lab := newLab(t, cfg)
	b, err := Probe(lab, lab.A)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
