package reuse

import (
	"errors"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peerd/peerd/punch/natlab"
)

// TestNoICMPErrorEndsADeafDial dials through a NAT that answers ICMP, from two
// ports: what comes back to the second comes after what comes back to the first.
func TestNoICMPErrorEndsADeafDial(t *testing.T) {
	natlab.Require(t)
	nat, err := natlab.ProfileByName("linux-icmp")
	if err != nil {
		t.Fatal(err)
	}
	lab, err := natlab.New(natlab.Config{B: nat})
	if err != nil {
		t.Fatal(err)
	}
	defer lab.Close()
	for _, tt := range []struct {
		ttl  int
		want error
	}{{0, unix.ECONNREFUSED}, {32, nil}} {
		first := beginOn(t, lab.A, netip.AddrPortFrom(lab.B.PublicAddr(), 9), tt.ttl)
		second := beginOn(t, lab.A, netip.AddrPortFrom(lab.B.PublicAddr(), 9), 0)
		if _, err := second.Wait(t.Context()); !IsRefused(err) {
			t.Fatalf("an ordinary dial: %v, want one that IsRefused", err)
		}
		err := onSocket(first.f, func(fd int) error {
			_, err := connected(fd)
			return err
		})
		if !errors.Is(err, tt.want) {
			t.Errorf("a dial with TTL %d: %v, want %v", tt.ttl, err, tt.want)
		}
	}
}

// beginOn begins a dial from a port of a host.
func beginOn(t *testing.T, h *natlab.Host, to netip.AddrPort, ttl int) (d *Dial) {
	t.Helper()
	err := h.Do(func() error {
		p, err := Claim(0, DialOnly)
		if err != nil {
			return err
		}
		t.Cleanup(func() { p.Close() })
		d = p.Begin(to, ttl, time.Time{})
		return d.err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.f.Close() })
	return d
}
