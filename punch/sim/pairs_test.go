package sim

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/peerd/peerd/punch"
)

// Every pair of the lab's profiles connects, with packets lost and without, or is
// known to be hopeless at once. `natlab prove sim` runs a million of these cases, and
// compares them with what is expected of each pair.
func TestEveryPair(t *testing.T) {
	const rtt = 40 * time.Millisecond
	var list []Case
	for _, a := range Profiles() {
		for _, b := range Profiles() {
			if (a.Shared != NotShared || b.Shared != NotShared) && a.Name != b.Name {
				continue
			}
			for i := range pairCases(a, b) {
				c := Cell{A: a, B: b, RTT: rtt, Told: true, IPv6: i%10 == 9}
				if i%2 == 1 {
					c.Loss = 0.02
				}
				list = append(list, c.Case(uint64(len(list))+1))
			}
		}
	}
	failed := 0
	for _, r := range runEach(list) {
		c := r.Case
		for _, problem := range r.Problems {
			t.Errorf("%s × %s, seed %d: %s", c.A.NAT.Name, c.B.NAT.Name, c.Seed, problem)
		}
		var hopeless *punch.HopelessError
		switch known := errors.As(r.A.Why, &hopeless); {
		case r.Direct:
		case known && hopeless.Reason != 0 && !c.IPv6 && rtt*3/4+r.A.Ended < 500*time.Millisecond+2*rtt:
		case c.A.NAT.Shared == SharedCarrier && !c.IPv6, c.Loss > 0, guesses(c.A.NAT, c.B.NAT) && !c.IPv6:
			failed++
		default:
			t.Errorf("%s × %s, seed %d, loss %v, IPv6 %t: ended after %v: %v", c.A.NAT.Name, c.B.NAT.Name, c.Seed, c.Loss, c.IPv6, r.A.Ended, r.A.Why)
		}
	}
	// Guesses succeed in 99 of 100 cases, and a carrier that both share shows itself to
	// nobody.
	most := len(list) / 100
	if raceEnabled {
		most *= 2 // of fewer plain ones
	}
	if t.Logf("%d of %d others not direct", failed, len(list)); failed > most {
		t.Error("that is too many")
	}
}

// pairCases is how many cases a pair has: guesses take time.
func pairCases(a, b Profile) int {
	switch {
	case raceEnabled, guesses(a, b):
		return 2
	}
	return 25
}

// guesses reports whether ports have to be guessed.
func guesses(a, b Profile) bool {
	random := func(p Profile) bool {
		return (p.Mapping == APDM || p.Mapping == PerConnection) && (p.Allocation == Random || p.Allocation == Block)
	}
	return random(a) != random(b)
}

// Both hosts have IPv6 behind stateful firewalls, and IPv4 behind NATs between which
// nothing passes.
func TestIPv6ConnectsWhatIPv4DoesNot(t *testing.T) {
	for _, name := range []string{"pfsense", "strict-no-so", "proxy", "same-cgn"} {
		p := profile(t, name)
		for _, six := range []bool{false, true} {
			r := Run(Cell{A: p, B: p, RTT: 40 * time.Millisecond, Told: true, IPv6: six}.Case(1))
			if r.Direct != six || six && !r.A.Remote.Addr().Is6() {
				t.Errorf("%s, IPv6 %t: direct %t at %v", name, six, r.Direct, r.A.Remote)
			}
		}
	}
}

// A NAT that limits a host's sessions keeps the others from leaving.
func TestQuotaBoundsSessions(t *testing.T) {
	for _, tt := range []struct {
		quota Quota
		want  int
	}{{Quota{}, 40}, {Quota{Sessions: 10}, 10}, {Quota{Ports: 5}, 5}, {Quota{SYNs: 1, Burst: 7}, 7}} {
		l := newLooker(Profile{User: true, Quota: tt.quota})
		left := 0
		for i := range uint16(40) {
			if l.syn(5000+i, distant).IsValid() {
				left++
			}
		}
		if left != tt.want {
			t.Errorf("%+v: %d of 40 leave, want %d", tt.quota, left, tt.want)
		}
	}
}

// What no profile has: the other fallbacks, parity, and an address-dependent mapping.
func TestUserNATPorts(t *testing.T) {
	ports := func(p Profile, to ...uint16) string {
		l := newLooker(p)
		nat := l.n.a.nat.(*userNAT)
		nat.newMapping(l.local(6000), distant).pinned = true // somebody else
		nat.mappings = map[flow]*mapping{}
		s := ""
		for _, port := range to {
			first := l.syn(port, distant).Port()
			second := l.syn(port, elsewhere).Port()
			s += fmt.Sprintf("%t,%t,%t ", first == port, first == second, first%2 == port%2)
		}
		return s
	}
	for _, tt := range []struct {
		p    Profile
		want string
	}{
		{Profile{User: true}, "true,true,true "},
		{Profile{User: true, Mapping: ADM, Allocation: Sequential, Parity: true}, "false,false,true "},
	} {
		if got := ports(tt.p, 5000); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt.p, got, tt.want)
		}
	}
	if got := ports(Profile{User: true, Fallback: FallbackSequential}, 6000); got != "false,true,false " {
		t.Errorf("in sequence: %s", got)
	}
	if got := ports(Profile{User: true, Fallback: FallbackPerFlow}, 6000); got[:12] != "false,false," {
		t.Errorf("per flow: %s", got)
	}
	if l := newLooker(Profile{User: true, Fallback: FallbackNone}); true {
		l.n.a.nat.(*userNAT).newMapping(l.local(6000), distant).pinned = true
		l.n.a.nat.(*userNAT).mappings = map[flow]*mapping{}
		if at := l.syn(6000, distant); at.IsValid() {
			t.Errorf("without a fallback a SYN leaves from %v", at)
		}
	}
}
