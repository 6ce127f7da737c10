//go:build linux

package natlab

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

// TestChains connects through every way to put kernel and userspace NATs in a row, and looks who answers a TTL that ends on
// the way.
func TestChains(t *testing.T) {
	Require(t)
	t.Parallel()
	kernel, user := profile(t, "linux-drop"), profile(t, "user-drop")
	const home, between, carrier, internet = "192.168.1.1", "172.16.1.1", "100.64.0.1", "198.51.100.254"
	for _, tt := range []struct {
		name  string
		chain Profile
		hops  []string
	}{
		{"kernel behind kernel", kernel.Behind(kernel), []string{home, carrier, internet}},
		{"kernel behind user", kernel.Behind(user), []string{home, carrier, internet}},
		{"user behind kernel", user.Behind(kernel), []string{home, carrier, internet}},
		{"user behind user", user.Behind(user), []string{home, carrier, internet}},
		{"three", user.Behind(kernel).Behind(user), []string{home, between, carrier, internet}},
		{"a public one adds nothing", user.Behind(Profile{}).Behind(kernel), []string{home, carrier, internet}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lab := newLab(t, Config{A: tt.chain, B: tt.chain})
			for _, h := range []*Host{lab.A, lab.B} {
				_, s := connect(t, h, lab.Server)
				if from := s.RemoteAddr().(interface{ AddrPort() netip.AddrPort }); from.AddrPort().Addr() != h.PublicAddr() {
					t.Errorf("%s comes from %v, want %v", h.Name(), from, h.PublicAddr())
				}
			}
			for i, want := range tt.hops {
				if got := answerTo(t, lab.A, lab.Server, i+1); got != want {
					t.Errorf("TTL %d: %s answered, want %s", i+1, got, want)
				}
			}
			if s := lab.String(); strings.Count(s, "NAT linux-drop")+strings.Count(s, "NAT user-drop") != 2*(len(tt.hops)-1) {
				t.Errorf("drawn as\n%s", s)
			}
		})
	}
}

// answerTo dials with a TTL and returns the address that an ICMP error comes from.
func answerTo(t *testing.T, from, to *Host, ttl int) string {
	t.Helper()
	capture, err := from.Capture()
	if err != nil {
		t.Fatal(err)
	}
	defer capture.Close()
	s, err := newSocket(from, netip.AddrPortFrom(from.Addr(), 0))
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if err := s.setTTL(ttl); err != nil {
		t.Fatal(err)
	}
	if err := s.connect(netip.AddrPortFrom(to.Addr(), 9)); err != nil {
		t.Fatal(err)
	}
	if a, err := s.outcome(patienceToConnect); a != Unreachable {
		t.Errorf("TTL %d: %v, %v", ttl, a, err)
	}
	for _, p := range capture.Packets() {
		if p.Proto == protoICMP && p.Event == Delivered {
			return p.Src.Addr().String()
		}
	}
	return ""
}

// TestCarrier has both hosts behind one carrier's NAT, with their own NATs or without: they reach the server, and each other by
// hairpinning alone.
func TestCarrier(t *testing.T) {
	Require(t)
	t.Parallel()
	hairpin := Custom("hairpin", NAT{Filtering: EIF, Hairpin: HairpinExternal})
	open := profile(t, "fullcone")
	for _, tt := range []struct {
		name          string
		a, b, carrier Profile
		reaches       bool
	}{
		{"without their own", Profile{}, Profile{}, hairpin, true},
		{"with their own", open, open, hairpin, true},
		{"one with its own", Profile{}, open, hairpin, true},
		{"kernel NATs", profile(t, "linux-drop"), open, profile(t, "linux-drop"), false},
		{"hosts at a kernel's", Profile{}, Profile{}, profile(t, "linux-drop"), false},
		{"no hairpin", open, open, profile(t, "cgn-eim"), false},
		{"two carriers in a row", open, open, hairpin.Behind(profile(t, "linux-drop")), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lab := newLab(t, Config{A: tt.a, B: tt.b, Carrier: tt.carrier, RTT: 4 * time.Millisecond})
			for _, h := range []*Host{lab.A, lab.B} {
				connect(t, h, lab.Server)
			}
			to := mappingAt(t, lab, lab.B, nearest(tt.carrier, lab))
			if err := dialOnce(lab.A, netip.AddrPortFrom(lab.B.Addr(), 5000), patienceInVain); err == nil {
				t.Error("subscribers reach each other inside")
			}
			patience := patienceInVain
			if tt.reaches {
				patience = patienceToConnect
			}
			err := dialOnce(lab.A, to, patience)
			if (err == nil) != tt.reaches {
				t.Errorf("dial %v: %v", to, err)
			}
		})
	}
}

// nearest is the outside address of the innermost of a carrier's NATs.
func nearest(carrier Profile, lab *Lab) netip.Addr {
	n := len(carrier.chain())
	return lab.sites[1].boxes[n-1].out.addrs[0].Addr()
}

// mappingAt has a host listen where it has a mapping, which it returns as seen at an address that the host dials.
func mappingAt(t *testing.T, lab *Lab, h *Host, outside netip.Addr) netip.AddrPort {
	t.Helper()
	local := netip.AddrPortFrom(h.Addr(), 5000)
	l, err := newSocket(h, local)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	if err := l.listen(8); err != nil {
		t.Fatal(err)
	}
	s, err := newSocket(h, local)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	if err := s.connect(netip.AddrPortFrom(lab.Server.Addr(), 9)); err != nil {
		t.Fatal(err)
	}
	if a, err := s.outcome(patienceToConnect); a != Reset || err != nil {
		t.Fatal(a, err)
	}
	return netip.AddrPortFrom(outside, 5000)
}

// patienceInVain is for dials that nothing answers: whatever the machine is busy
// with, they fail.
const patienceInVain = 300 * time.Millisecond

func dialOnce(from *Host, to netip.AddrPort, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := from.Dial(ctx, to.String())
	if err == nil {
		c.Close()
	}
	return err
}

// TestSharedProfiles names the topologies of a pair.
func TestSharedProfiles(t *testing.T) {
	Require(t)
	t.Parallel()
	lan, carrier := profile(t, "same-nat"), profile(t, "same-cgn")
	lab := newLab(t, Config{A: lan, B: lan})
	connect(t, lab.A, lab.B)
	lab = newLab(t, Config{A: carrier, B: carrier})
	if len(lab.sites) != 2 || len(lab.sites[1].boxes) != 3 || lab.A.PublicAddr() != lab.B.PublicAddr() {
		t.Errorf("same-cgn is\n%s", lab)
	}
	connect(t, lab.B, lab.Server)
	for _, cfg := range []Config{{A: lan}, {B: lan}, {A: lan, B: carrier}, {A: profile(t, "openwrt"), B: carrier}, {A: lan, B: lan, SameNAT: true}} {
		if lab, err := New(cfg); err == nil {
			lab.Close()
			t.Errorf("%s × %s: no error", cfg.A.Name, cfg.B.Name)
		}
	}
}

// TestCollision has two hosts behind one NAT use one port.
func TestCollision(t *testing.T) {
	Require(t)
	t.Parallel()
	for _, tt := range []struct {
		name string
		nat  Profile
		want string // what the second host's mappings for two destinations are: kept, another for each, the next port
	}{
		{"kernel", profile(t, "linux-drop"), "kept"},
		{"random", Custom("random", NAT{}), "kept"},
		{"per flow", Custom("per flow", NAT{Allocation: Allocation{Fallback: FallbackPerFlow}}), "per flow"},
		{"sequential", Custom("sequential", NAT{Allocation: Allocation{Fallback: FallbackSequential}}), "next"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lab := newLab(t, Config{A: tt.nat, SameNAT: true})
			var ports [2][2]uint16
			at := &prober{lab: lab}
			defer at.close()
			var listeners []*socket
			for _, a := range []netip.Addr{lab.Server.Addr(), lab.Server.Alternate()} {
				l, err := at.listen(a)
				if err != nil {
					t.Fatal(err)
				}
				listeners = append(listeners, l)
			}
			for i, h := range []*Host{lab.A, lab.B} {
				p := &prober{lab: lab, host: h}
				defer p.close()
				for j, l := range listeners {
					_, from, err := p.meet(5000, l)
					if err != nil {
						t.Fatal(err)
					}
					ports[i][j] = from.Port()
				}
			}
			second, got := ports[1], "kept"
			switch {
			case second[0] != second[1]:
				got = "per flow"
			case second[0] == 5001:
				got = "next"
			}
			if ports[0] != [2]uint16{5000, 5000} || got != tt.want || second[0] == 5000 || second[1] == 5000 {
				t.Errorf("the outside ports are %v: %s, want %s", ports, got, tt.want)
			}
		})
	}
}

// TestProxy guards that a proxy carries bytes and ends, and refuses what it can't reach afterwards.
func TestProxy(t *testing.T) {
	Require(t)
	t.Parallel()
	lab := newLab(t, Config{A: profile(t, "proxy"), B: profile(t, "proxy"), RTT: 40 * time.Millisecond})
	c, s := connect(t, lab.A, lab.Server)
	transfer(t, c, s, make([]byte, 1<<20))
	transfer(t, s, c, make([]byte, 1<<20))
	s.Close()
	if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("read %d, %v after the end", n, err)
	}
	refused, err := lab.A.Dial(context.Background(), netip.AddrPortFrom(lab.Server.Addr(), 9).String())
	if err != nil {
		t.Fatal("a proxy said no:", err)
	}
	defer refused.Close()
	refused.SetReadDeadline(time.Now().Add(patienceToConnect))
	if _, err := refused.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Error("after a refused dial:", err)
	}
}

// TestProxyGivesUp guards that a proxy dials nobody whom its host has given up: who guesses ports gives thousands up.
func TestProxyGivesUp(t *testing.T) {
	Require(t)
	t.Parallel()
	lab := newLab(t, Config{A: profile(t, "proxy"), B: profile(t, "user-drop"), RTT: 4 * time.Millisecond})
	c, err := lab.A.Dial(context.Background(), netip.AddrPortFrom(lab.B.PublicAddr(), 9).String())
	if err != nil {
		t.Fatal(err)
	}
	dialling := func() (found bool) {
		err := lab.sites[1].boxes[0].router.do(func() error {
			table, err := os.ReadFile("/proc/thread-self/net/tcp")
			found = strings.Contains(string(table), ":0009 02 ") // the remote port, SYN_SENT
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	waitFor(t, "the proxy's dial", dialling)
	abort(c.(*net.TCPConn))
	waitFor(t, "its end", func() bool { return !dialling() })
}

func isTimeout(err error) bool {
	t, ok := err.(interface{ Timeout() bool })
	return ok && t.Timeout()
}
