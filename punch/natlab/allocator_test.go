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
		outside []uint16
		want    AllocationKind
	}{
		{inside, Preserving},
		{[]uint16{7, 8, 9, 10}, Sequential},
		{[]uint16{65532, 65534, 0, 2}, Sequential},
		{[]uint16{5000, 5900, 5100, 5001}, Block},
		{[]uint16{5000, 35900, 15100, 60001}, Random},
	} {
		if got := kindOf(inside, tt.outside); got != tt.want {
			t.Errorf("%d: %v, want %v", tt.outside, got, tt.want)
		}
	}
}
