package natlab

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

func TestAllocator(t *testing.T) {
	inside, anyFree := netip.MustParseAddrPort("192.168.1.10:5000"), func(uint16) bool { return true }
	take := func(cfg Allocation, n int, gap time.Duration) (ports []uint16) {
		a := newAllocator(cfg, rand.New(rand.NewPCG(3, 4)))
		for i := range n {
			p, ok := a.next(time.Unix(0, 0).Add(time.Duration(i)*gap), inside, anyFree)
			if !ok || p < firstPort {
				t.Fatalf("%+v: port %d, %v", cfg, p, ok)
			}
			ports = append(ports, p)
		}
		return ports
	}
	if p := take(Allocation{}, 1, 0); p[0] != 5000 {
		t.Errorf("preserving: %d", p)
	}
	p := take(Allocation{Kind: Sequential, Delta: -2}, 2, 0)
	if p[1] != p[0]-2 {
		t.Errorf("sequential: %d", p)
	}
	// 100 ports a second are stolen from under us: 1000 in ten seconds, give or take five standard deviations.
	p = take(Allocation{Kind: Sequential, Background: 100}, 2, 10*time.Second)
	if d := int(p[1]-p[0]) - 1; d < 840 || d > 1160 {
		t.Errorf("background took %d ports", d)
	}
	p = take(Allocation{Kind: Sequential, Background: 10}, 201, 100*time.Millisecond)
	if d := int(p[200]-p[0]) - 200; d < 130 || d > 270 {
		t.Errorf("background took %d ports", d)
	}
	for _, q := range take(Allocation{Kind: Block, Size: 512}, 100, 0) {
		if first := take(Allocation{Kind: Block, Size: 512}, 1, 0)[0]; (q-firstPort)/512 != (first-firstPort)/512 {
			t.Errorf("block: %d and %d", q, first)
		}
	}
}

func TestAllocatorParity(t *testing.T) {
	free := func(p uint16) bool { return p != 5000 && p != 5001 }
	for _, cfg := range []Allocation{{}, {Fallback: FallbackSequential}, {Kind: Sequential}, {Kind: Random}, {Kind: Block}} {
		cfg.Parity = true
		a := newAllocator(cfg, rand.New(rand.NewPCG(3, 4)))
		for i := range 50 {
			inside := uint16(5000 + i%2)
			p, ok := a.next(time.Time{}, netip.AddrPortFrom(addr("192.168.1.10"), inside), free)
			if !ok || !sameParity([]uint16{inside}, []uint16{p}) {
				t.Errorf("%+v: %d becomes %d, %v", cfg, inside, p, ok)
			}
		}
	}
}

func TestAllocatorExhausted(t *testing.T) {
	inside := netip.MustParseAddrPort("192.168.1.10:5000")
	for _, k := range []AllocationKind{Preserving, Sequential, Random, Block} {
		a := newAllocator(Allocation{Kind: k}, rand.New(rand.NewPCG(3, 4)))
		if p, ok := a.next(time.Time{}, inside, func(uint16) bool { return false }); ok {
			t.Errorf("%v: port %d, though none is free", k, p)
		}
	}
}

func TestKindOf(t *testing.T) {
	inside := []uint16{40000, 40001, 50000, 50001}
	for _, tt := range []struct {
		outside    []uint16
		want       AllocationKind
		background bool
	}{
		{inside, Preserving, false},
		{[]uint16{7, 8, 9, 10}, Sequential, false},
		{[]uint16{65532, 65534, 0, 2}, Sequential, false},
		{[]uint16{65532, 65535, 0, 9}, Sequential, true},
		{[]uint16{900, 890, 889, 700}, Sequential, true},
		{[]uint16{5000, 5900, 5100, 5001}, Block, false},
		{[]uint16{5000, 35900, 15100, 60001}, Random, false},
	} {
		if got, background := kindOf(inside, tt.outside); got != tt.want || background != tt.background {
			t.Errorf("%d: %v, background %v, want %v, %v", tt.outside, got, background, tt.want, tt.background)
		}
	}
}
