//go:build linux

package natlab

import (
	"flag"
	"slices"
	"testing"
	"time"
)

// thorough has all profiles probed slowly, not a sample.
var thorough = flag.Bool("thorough", false, "measure of every profile what takes seconds")

// slow are the profiles of which something shows in seconds only, and two of which nothing does.
var slow = []string{"mikrotik", "rfc5382", "cgn-sym-block", "dmz-poison", "public", "linux-drop"}

func TestProbeProfiles(t *testing.T) {
	Require(t)
	t.Parallel()
	for _, p := range Profiles() {
		t.Run(p.Name, func(t *testing.T) {
			t.Parallel()
			want, ok := Expectations()[p.Name]
			if !ok {
				t.Fatal("no expectation")
			}
			cfg, probe := Config{A: p}, ProbeSlowly
			if p.Shared != NotShared {
				cfg.B = p
			}
			if !*thorough && !slices.Contains(slow, p.Name) {
				want, probe = want.quick(), Probe
			}
			lab := newLab(t, cfg)
			if got, err := probe(lab, lab.A); err != nil || got != want {
				t.Errorf("%v\n got %v\nwant %v", err, got, want)
			}
		})
	}
}

// TestProbeSeesMutations guards against a probe that can't fail: each change of a profile must show.
func TestProbeSeesMutations(t *testing.T) {
	Require(t)
	t.Parallel()
	base := Expectations()["user-drop"]
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
		{"parity", NAT{Mapping: APDM, Allocation: Allocation{Kind: Random, Parity: true}},
			func(b *Behaviour) { b.Mapping, b.Allocation, b.Parity = APDM, Random, true }},
		{"pooling", NAT{Addresses: 2, Pooling: Arbitrary}, func(b *Behaviour) { b.Pooling = Arbitrary }},
		{"strict tracking", NAT{Tracking: Strict}, func(b *Behaviour) { b.Tracking = Strict }},
		{"own numbers", NAT{Tracking: RewriteISN}, func(b *Behaviour) { b.Tracking = RewriteISN }},
		{"error policies", NAT{OnRST: DeleteAndBlock, BlockFor: time.Minute, OnICMP: Delete},
			func(b *Behaviour) { b.OnRST, b.OnICMP = DeleteAndBlock, Delete }},
		{"expired", NAT{ExpiredRST: true}, func(b *Behaviour) { b.ExpiredRST = true }},
		{"background", NAT{Allocation: Allocation{Kind: Sequential, Delta: -2, Background: 50}},
			func(b *Behaviour) { b.Allocation, b.Background = Sequential, true }},
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
	t.Run("kernel tracking", func(t *testing.T) {
		t.Parallel()
		want := Expectations()["linux-drop"]
		want.Tracking = Liberal
		if got := probe(t, Config{A: profile(t, "linux-drop").Liberal()}); got != want {
			t.Errorf("\n got %v\nwant %v", got, want)
		}
	})
	t.Run("slowly", func(t *testing.T) {
		t.Parallel()
		want := base
		want.ShortSYN, want.Bounded = true, true
		lab := newLab(t, Config{A: Custom("slowly", NAT{SynSent: 5 * time.Second, Quota: Quota{SYNs: 50, Burst: 100}})})
		if got, err := ProbeSlowly(lab, lab.A); err != nil || got != want {
			t.Errorf("%v\n got %v\nwant %v", err, got, want)
		}
	})
	t.Run("kernel rules", func(t *testing.T) {
		t.Parallel()
		p := profile(t, "linux-drop")
		p.rules.unsolicited = ruleLimited
		if got := probe(t, Config{A: p}); got == Expectations()["linux-drop"] || got != Expectations()["openwrt"] {
			t.Errorf("linux-drop with openwrt's rule looks like %v", got)
		}
	})
}

// TestProbeWithDelay makes sure that the probe does not take delay for silence.
func TestProbeWithDelay(t *testing.T) {
	Require(t)
	t.Parallel()
	if got := probe(t, Config{A: profile(t, "user-rst"), RTT: 100 * time.Millisecond}); got != Expectations()["user-rst"] {
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
