package survey

import (
	"net/netip"
	"testing"
)

func mustOpen(t *testing.T) *Host {
	t.Helper()
	h, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// TestCases shows that no combination is left out, and none is there twice.
func TestCases(t *testing.T) {
	h := mustOpen(t)
	unicast, all := 0, len(h.Addresses())
	for _, a := range h.Addresses() {
		if !a.IsGroup() {
			unicast++
		}
	}
	seen := make(map[Case]bool)
	for _, c := range h.Cases() {
		if seen[c] {
			t.Errorf("%v is there twice", c)
		}
		seen[c] = true
	}
	if want := 16 * (3*unicast*unicast + all*all); len(seen) != want {
		t.Errorf("%d cases with %d addresses, want %d", len(seen), all, want)
	}
}

// TestAddresses shows that an address is what its kind says.
func TestAddresses(t *testing.T) {
	h := mustOpen(t)
	is := map[Address]func(netip.Addr) bool{
		Wild4: netip.Addr.IsUnspecified, Wild6: netip.Addr.IsUnspecified, WildDual: netip.Addr.IsUnspecified,
		Loop4: netip.Addr.IsLoopback, Loop6: netip.Addr.IsLoopback,
		Group4: netip.Addr.IsMulticast, Group6: netip.Addr.IsMulticast,
		Specific4: netip.Addr.IsValid, Specific6: netip.Addr.IsGlobalUnicast,
	}
	for _, kind := range h.Addresses() {
		if addr := h.Addr(kind); addr.Is6() != kind.Is6() || !is[kind](addr) {
			t.Errorf("%v is %v", kind, addr)
		}
	}
	if h.Addr(Specific4) == h.Addr(Loop4) {
		t.Error("the specific address is loopback's")
	}
	if got, want := len(h.Addresses())+len(h.LeftOut()), len(addressNames); got != want {
		t.Errorf("%d addresses are there or left out, want %d", got, want)
	}
}

func TestCaseNames(t *testing.T) {
	c := Case{UDP: true, First: Wild4, Second: Group6, FirstOptions: Both, SecondOptions: None}
	if got, want := c.String(), "udp bound wild4/AP then group6/-"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}
