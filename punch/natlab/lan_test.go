//go:build linux

package natlab

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"
)

func TestSameNAT(t *testing.T) {
	Require(t)
	for _, name := range []string{"linux-drop", "user-drop"} {
		lab := newLab(t, Config{A: profile(t, name), SameNAT: true, RTT: 20 * time.Millisecond})
		if lab.A.PublicAddr() != lab.B.PublicAddr() || lab.A.Addr() == lab.B.Addr() {
			t.Errorf("%s: addresses: %v", name, lab)
		}
		if d := dialTime(t, lab.A, lab.B, 5*time.Millisecond); d > 5*time.Millisecond {
			t.Errorf("%s: connect over the LAN took %v", name, d)
		}
		if d := dialTime(t, lab.B, lab.Server, 11*time.Millisecond); d < 10*time.Millisecond-2*maxLead {
			t.Errorf("%s: connect to the server took %v", name, d)
		}
		connect(t, lab.A, lab.Server)
	}
}

func TestHairpin(t *testing.T) {
	Require(t)
	lab := newLab(t, Config{A: Custom("hairpin", NAT{Hairpin: HairpinExternal, Filtering: EIF}), SameNAT: true})
	l, err := lab.B.Listen(netip.AddrPortFrom(lab.B.Addr(), 5000).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s, err := newSocket(lab.B, netip.AddrPortFrom(lab.B.Addr(), 6000))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	// A SYN to the server makes the mapping.
	if err := s.connect(netip.AddrPortFrom(lab.Server.Addr(), 9)); err != nil {
		t.Fatal(err)
	}
	if a, err := s.outcome(time.Second); a != Reset || err != nil {
		t.Fatal(a, err)
	}
	ln, err := newSocket(lab.B, netip.AddrPortFrom(lab.B.Addr(), 6000))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.close()
	if err := ln.listen(1); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	c, err := lab.A.Dial(ctx, netip.AddrPortFrom(lab.B.PublicAddr(), 6000).String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	accepted, from, err := ln.accept(time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer accepted.close()
	if from.Addr() != lab.A.PublicAddr() {
		t.Errorf("connection came from %v, want the outside address", from)
	}
}

func TestCut(t *testing.T) {
	Require(t)
	for _, cfg := range []Config{
		{A: profile(t, "linux-drop")},
		{A: profile(t, "linux-drop"), SameNAT: true},
		{A: profile(t, "user-drop")},
		{A: profile(t, "public")},
	} {
		lab := newLab(t, cfg)
		c, s := connect(t, lab.A, lab.Server)
		for _, cut := range []bool{true, false} {
			if err := lab.Cut(lab.A, cut); err != nil {
				t.Fatal(err)
			}
			if err := lab.Cut(lab.A, cut); err != nil {
				t.Fatal("second time:", err)
			}
			s.Write([]byte{1})
			c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
			if !cut {
				c.SetReadDeadline(time.Now().Add(5 * time.Second))
			}
			_, err := c.Read(make([]byte, 8))
			if cut != errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s: cut %v: %v", cfg.A.Name, cut, err)
			}
		}
	}
}
