package reuse

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

// timeWait leaves the 4-tuple of a port's dial to an address in TIME_WAIT.
func timeWait(p *Port, l net.Listener) error {
	near, err := p.Dial(context.Background(), addrPort(l.Addr()))
	if err != nil {
		return err
	}
	far, err := l.Accept()
	if err != nil {
		return err
	}
	near.Close()
	far.Read(make([]byte, 1)) // the FIN has come
	return far.Close()
}

// TestDialOverTimeWait shows that a dial takes over its own TIME_WAIT where
// timestamps are on, and says what is in its way where they are off.
func TestDialOverTimeWait(t *testing.T) {
	lab := newLab(t)
	for _, timestamps := range []string{"1", "0"} {
		for _, mode := range []Mode{Shared, DialOnly, Sequential} {
			t.Run(mode.String()+" timestamps "+timestamps, func(t *testing.T) {
				err := lab.A.Do(func() error { return dialOverTimeWait(timestamps, mode) })
				var used *InUseError
				switch {
				case timestamps == "1" && err != nil:
					t.Error(err)
				case timestamps == "0" && (!errors.As(err, &used) || !IsTupleInUse(err) || !strings.Contains(err.Error(), "for up to 60 s")):
					t.Errorf("%v, want an InUseError that says how long", err)
				}
			})
		}
	}
}

// dialOverTimeWait claims the port again, too, as a node does that has started
// again.
func dialOverTimeWait(timestamps string, mode Mode) error {
	if err := os.WriteFile("/proc/sys/net/ipv4/tcp_timestamps", []byte(timestamps), 0); err != nil {
		return err
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	p, err := Claim(0, mode)
	if err != nil {
		return err
	}
	if err = timeWait(p, l); err != nil {
		return err
	}
	p.Close()
	if p, err = Claim(p.Number(), mode); err != nil {
		return err
	}
	defer p.Close()
	c, err := p.Dial(context.Background(), addrPort(l.Addr()))
	if err == nil {
		discard(c)
	}
	return err
}

// TestNoSourceIsNotInUse shows that a host without an address for IPv6 is not
// taken for one whose 4-tuple is in use, although connect says the same.
func TestNoSourceIsNotInUse(t *testing.T) {
	lab := newLab(t)
	err := lab.A.Do(func() error {
		p, err := Claim(0, Shared)
		if err != nil {
			return err
		}
		defer p.Close()
		if err := routeIPv6WithoutAddress(); err != nil {
			return err
		}
		_, err = p.Dial(context.Background(), netip.MustParseAddrPort("[2001:db8::1]:443"))
		return err
	})
	if err == nil || IsTupleInUse(err) || !strings.Contains(err.Error(), "no address") {
		t.Errorf("dialling without an address: %v", err)
	}
}

// routeIPv6WithoutAddress gives the network namespace a way to 2001:db8::/32 and
// no address at all to go it from.
func routeIPv6WithoutAddress() error {
	if err := enableIPv6(); err != nil {
		return err
	}
	links, err := netlink.LinkList()
	if err != nil {
		return err
	}
	for _, link := range links {
		addrs, err := netlink.AddrList(link, netlink.FAMILY_V6)
		if err != nil {
			return err
		}
		for _, a := range addrs {
			if err := netlink.AddrDel(link, &a); err != nil {
				return err
			}
		}
	}
	_, to, _ := net.ParseCIDR("2001:db8::/32")
	return netlink.RouteAdd(&netlink.Route{LinkIndex: links[len(links)-1].Attrs().Index, Dst: to})
}

// TestProbeWithoutIPv4 shows that IPv6's loopback does as well, and that without
// either nothing is found out.
func TestProbeWithoutIPv4(t *testing.T) {
	lab := newLab(t)
	var got Capabilities
	err := lab.A.Do(func() (err error) {
		if err = errors.Join(enableIPv6(), removeLoopback(netlink.FAMILY_V4)); err == nil {
			got, err = Probe(t.Context())
		}
		return err
	})
	want := Capabilities{Mode: Shared, ReusePort: true, Pinned: true, QuietDial: true}
	if err != nil || got != want {
		t.Errorf("without 127.0.0.1: %+v, %v; want %+v", got, err, want)
	}
	err = lab.A.Do(func() error {
		if err := removeLoopback(netlink.FAMILY_V6); err != nil {
			t.Error(err)
		}
		_, err := Probe(t.Context())
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("without any loopback: %v, want an error", err)
	}
}

// enableIPv6 undoes what the lab has done to IPv6.
func enableIPv6() error {
	return os.WriteFile("/proc/sys/net/ipv6/conf/all/disable_ipv6", []byte("0"), 0)
}

func removeLoopback(family int) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	addrs, err := netlink.AddrList(lo, family)
	if err != nil {
		return err
	}
	for _, a := range addrs {
		if err := netlink.AddrDel(lo, &a); err != nil {
			return err
		}
	}
	return nil
}
