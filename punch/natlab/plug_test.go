//go:build linux

package natlab

import (
	"errors"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
)

// TestPlug has a host lose its network and get it back. A connection survives if the address does, and programs are told.
func TestPlug(t *testing.T) {
	Require(t)
	t.Parallel()
	for _, tt := range []struct {
		cfg   Config
		other netip.Addr
	}{
		{Config{A: profile(t, "linux-drop")}, addr("192.168.1.77")},
		{Config{A: profile(t, "linux-drop"), SameNAT: true}, addr("192.168.1.77")},
		{Config{A: profile(t, "user-drop")}, addr("192.168.1.77")},
		{Config{A: profile(t, "double")}, addr("192.168.1.77")},
		{Config{A: profile(t, "public")}, addr("198.51.100.77")},
	} {
		t.Run(tt.cfg.A.Name, func(t *testing.T) {
			lab := newLab(t, tt.cfg)
			c, s := connect(t, lab.A, lab.Server)
			events := addressEvents(t, lab.A)
			if err := lab.Unplug(lab.A); err != nil {
				t.Fatal(err)
			}
			if e := <-events; e.NewAddr || !e.LinkAddress.IP.Equal(lab.A.Addr().AsSlice()) {
				t.Errorf("unplugged: %v", e)
			}
			s.Write([]byte{1})
			c.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("unplugged: read %v", err)
			}
			if err := dialOnce(lab.A, netip.AddrPortFrom(lab.Server.Addr(), 9), patienceToConnect); err == nil || isTimeout(err) {
				t.Errorf("unplugged: dial %v", err)
			}
			if err := lab.Plug(lab.A, netip.Addr{}); err != nil {
				t.Fatal(err)
			}
			if e := <-events; !e.NewAddr {
				t.Errorf("plugged: %v", e)
			}
			c.SetReadDeadline(time.Now().Add(patienceToConnect))
			if _, err := c.Read(make([]byte, 1)); err != nil {
				t.Errorf("plugged: read %v", err)
			}
			connect(t, lab.A, lab.Server)

			if err := lab.Unplug(lab.A); err != nil {
				t.Fatal(err)
			}
			if err := lab.Plug(lab.A, tt.other); err != nil {
				t.Fatal(err)
			}
			if lab.A.Addr() != tt.other || tt.cfg.A.Name == "public" && lab.A.PublicAddr() != tt.other {
				t.Errorf("the address is %v, outside %v", lab.A.Addr(), lab.A.PublicAddr())
			}
			c, _ = connect(t, lab.A, lab.Server)
			if got := c.LocalAddr().(interface{ AddrPort() netip.AddrPort }).AddrPort().Addr(); got != tt.other {
				t.Errorf("dialled from %v, want %v", got, tt.other)
			}
			connect(t, lab.B, lab.Server)
		})
	}
}

// TestPlugElsewhere lists addresses that a host can't have.
func TestPlugElsewhere(t *testing.T) {
	Require(t)
	t.Parallel()
	lab := newLab(t, Config{A: profile(t, "user-drop"), SameNAT: true})
	for _, a := range []netip.Addr{lab.A.Gateway(), lab.B.Addr(), addr("10.1.1.1"), lab.Server.Addr()} {
		if err := lab.Unplug(lab.A); err != nil {
			t.Fatal(err)
		}
		if err := lab.Plug(lab.A, a); err == nil {
			t.Errorf("no error from %v", a)
		}
	}
}

// addressEvents tells what a program on the host is told.
func addressEvents(t *testing.T, h *Host) <-chan netlink.AddrUpdate {
	t.Helper()
	events, done := make(chan netlink.AddrUpdate, 16), make(chan struct{})
	t.Cleanup(func() { close(done) })
	if err := h.Do(func() error { return netlink.AddrSubscribe(events, done) }); err != nil {
		t.Fatal(err)
	}
	return events
}
