package proto

import "testing"

func TestPortModes(t *testing.T) {
	for m, want := range map[PortMode]struct {
		name    string
		listens bool
	}{
		PortShared:     {"shared", true},
		PortDialOnly:   {"dial-only", false},
		PortSequential: {"sequential", false},
		77:             {"port mode 77", true}, // as spec.md has it
	} {
		if m.String() != want.name || m.Listens() != want.listens {
			t.Errorf("mode %d is %v and listens %t, want %s and %t", m, m, m.Listens(), want.name, want.listens)
		}
	}
}
