//go:build linux

package natlab

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"
)

// TestIPv6 has every kind of site with both families: IPv6 goes out, in only through a crossing SYN, and IPv4 is as ever.
func TestIPv6(t *testing.T) {
	Require(t)
	t.Parallel()
	for _, tt := range []struct {
		name     string
		cfg      Config
		filtered bool
	}{
		{"public", Config{}, false},
		{"kernel", Config{A: profile(t, "linux-drop"), B: profile(t, "openwrt")}, true},
		{"user", Config{A: profile(t, "user-drop"), B: profile(t, "sym-seq")}, true},
		{"rows", Config{A: profile(t, "double"), B: profile(t, "user-drop").Behind(profile(t, "linux-drop"))}, true},
		{"one LAN", Config{A: profile(t, "linux-drop"), SameNAT: true}, false},
		{"one LAN at a userspace NAT", Config{A: profile(t, "user-drop"), SameNAT: true}, false},
		{"one carrier", Config{A: profile(t, "same-cgn"), B: profile(t, "same-cgn")}, true},
		{"hosts at a carrier", Config{Carrier: profile(t, "linux-drop")}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.cfg.IPv6, tt.cfg.RTT = true, 8*time.Millisecond
			lab := newLab(t, tt.cfg)
			for _, h := range []*Host{lab.A, lab.B} {
				connect(t, h, lab.Server)
				c, s := connect6(t, h, lab.Server)
				if from := s.RemoteAddr().(*net.TCPAddr).AddrPort().Addr(); from != h.Addr6() {
					t.Errorf("%s comes from %v, not %v", h.Name(), from, h.Addr6())
				}
				transfer(t, c, s, make([]byte, 1<<20))
				transfer(t, s, c, make([]byte, 1<<20))
			}
			c, err := dial6(lab.A, 0, netip.AddrPortFrom(lab.B.Addr6(), 9), 300*time.Millisecond)
			if err == nil {
				c.Close()
			}
			if silent := err != nil && isTimeout(err); silent != tt.filtered {
				t.Errorf("an unsolicited dial: %v", err)
			}
			if tt.filtered {
				cross6(t, lab)
			}
		})
	}
}

func connect6(t *testing.T, from, to *Host) (dialed, accepted net.Conn) {
	t.Helper()
	l, err := to.Listen(netip.AddrPortFrom(to.Addr6(), 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if dialed, err = dial6(from, 0, l.Addr().(*net.TCPAddr).AddrPort(), patienceToConnect); err != nil {
		t.Fatal(err)
	}
	if accepted, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialed.Close(); accepted.Close() })
	return dialed, accepted
}

// dial6 connects from a port, or any.
func dial6(from *Host, port int, to netip.AddrPort, patience time.Duration) (c net.Conn, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	err = from.Do(func() (err error) {
		d := net.Dialer{LocalAddr: &net.TCPAddr{Port: port}}
		c, err = d.DialContext(ctx, "tcp6", to.String())
		return err
	})
	return c, err
}

// cross6 has both hosts dial each other at once.
func cross6(t *testing.T, lab *Lab) {
	t.Helper()
	const port = 5000
	errs := make(chan error, 2)
	for from, to := range map[*Host]*Host{lab.A: lab.B, lab.B: lab.A} {
		go func() {
			c, err := dial6(from, port, netip.AddrPortFrom(to.Addr6(), port), patienceToConnect)
			if err == nil {
				defer c.Close()
				_, err = c.Write([]byte{1})
			}
			errs <- err
		}()
	}
	if err := errors.Join(<-errs, <-errs); err != nil {
		t.Error("simultaneous open:", err)
	}
}

// TestHops6 looks who answers a hop limit that ends on the way, and that the error is believed.
func TestHops6(t *testing.T) {
	Require(t)
	t.Parallel()
	for _, name := range []string{"linux-drop", "user-drop", "public"} {
		lab := newLab(t, Config{A: profile(t, name), IPv6: true, RTT: 4 * time.Millisecond})
		hops := []netip.Addr{in6(siteA.net6, gateway6), in6(siteA.net6, internet6)}
		if name == "public" {
			hops = hops[1:]
		}
		for i, want := range hops {
			capture, err := lab.A.Capture()
			if err != nil {
				t.Fatal(err)
			}
			if err := lab.A.Do(func() error { return setSysctl("ipv6.conf.eth0.hop_limit", string(rune('1'+i))) }); err != nil {
				t.Fatal(err)
			}
			// An error that comes while connect still holds the socket does not end it: then the SYN's retransmission does.
			_, err = dial6(lab.A, 0, netip.AddrPortFrom(lab.Server.Addr6(), 9), patienceToConnect)
			if err == nil || isTimeout(err) {
				t.Errorf("%s: hop limit %d: %v", name, i+1, err)
			}
			var got netip.Addr
			for _, p := range capture.Packets() {
				if p.Proto == protoICMP6 && p.Event == Delivered && p.Type == icmp6TimeExceeded {
					got = p.Src.Addr()
				}
			}
			if got != want {
				t.Errorf("%s: hop limit %d: %v answered, want %v", name, i+1, got, want)
			}
			capture.Close()
		}
	}
}

// TestPlug6 guards that IPv6 comes back, too.
func TestPlug6(t *testing.T) {
	Require(t)
	t.Parallel()
	for _, name := range []string{"linux-drop", "user-drop", "public"} {
		lab := newLab(t, Config{A: profile(t, name), IPv6: true})
		if err := errors.Join(lab.Unplug(lab.A), lab.Plug(lab.A, netip.Addr{})); err != nil {
			t.Fatal(name, err)
		}
		connect6(t, lab.A, lab.Server)
		connect(t, lab.A, lab.Server)
		if err := lab.Cut(lab.A, true); err != nil {
			t.Fatal(err)
		}
		if _, err := dial6(lab.A, 0, netip.AddrPortFrom(lab.Server.Addr6(), 9), 100*time.Millisecond); !isTimeout(err) {
			t.Errorf("%s: cut: %v", name, err)
		}
	}
}

// TestNoIPv6 guards the labs that have none.
func TestNoIPv6(t *testing.T) {
	Require(t)
	t.Parallel()
	lab := newLab(t, Config{})
	if a := lab.A.Addr6(); a.IsValid() {
		t.Error(a)
	}
	l, err := lab.A.Listen("[::1]:0")
	if err == nil {
		l.Close()
		t.Error("a host has IPv6")
	}
}
