package natlab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// hostDevice is the name of a host's interface.
const hostDevice = "eth0"

// configure gives a device of the calling thread's namespace its addresses and brings it up. With a valid gateway it becomes
// the default route.
func configure(device string, gateway netip.Addr, addrs ...netip.Prefix) error {
	l, err := netlink.LinkByName(device)
	if err != nil {
		return fmt.Errorf("natlab: find %s: %w", device, err)
	}
	for _, a := range addrs {
		n := &netlink.Addr{IPNet: ipNet(a)}
		if a.Addr().Is6() {
			n.Flags = unix.IFA_F_NODAD
		}
		if err := netlink.AddrAdd(l, n); err != nil {
			return fmt.Errorf("natlab: add %v to %s: %w", a, device, err)
		}
	}
	if err := netlink.LinkSetUp(l); err != nil {
		return fmt.Errorf("natlab: bring up %s: %w", device, err)
	}
	if !gateway.IsValid() {
		return nil
	}
	return addDefault(device, gateway)
}

// addDefault adds a default route of the gateway's family, or by the device itself without a gateway for IPv6.
func addDefault(device string, gateway netip.Addr) error {
	l, err := netlink.LinkByName(device)
	if err != nil {
		return fmt.Errorf("natlab: find %s: %w", device, err)
	}
	route := &netlink.Route{LinkIndex: l.Attrs().Index, Family: netlink.FAMILY_V6}
	if gateway.IsValid() {
		route = &netlink.Route{LinkIndex: l.Attrs().Index, Gw: gateway.AsSlice()}
	} else {
		route.Dst = &net.IPNet{IP: net.IPv6zero, Mask: net.CIDRMask(0, 128)}
	}
	if err := netlink.RouteAdd(route); err != nil {
		return fmt.Errorf("natlab: add a default route via %v: %w", gateway, err)
	}
	return nil
}

// takeDown has a device lose its addresses and go down, as when its cable is pulled and its lease ends.
func takeDown(device string) error {
	l, err := netlink.LinkByName(device)
	if err != nil {
		return fmt.Errorf("natlab: find %s: %w", device, err)
	}
	addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("natlab: list the addresses of %s: %w", device, err)
	}
	if err := netlink.LinkSetDown(l); err != nil {
		return fmt.Errorf("natlab: take down %s: %w", device, err)
	}
	for _, a := range addrs {
		// IPv6 addresses vanish by themselves.
		if err := netlink.AddrDel(l, &a); err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return fmt.Errorf("natlab: remove %v from %s: %w", a.IPNet, device, err)
		}
	}
	return nil
}

// addNeighbour has packets to an address leave for nobody.
func addNeighbour(device string, a netip.Addr) error {
	l, err := netlink.LinkByName(device)
	if err == nil {
		err = netlink.NeighAdd(&netlink.Neigh{LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: a.AsSlice(),
			HardwareAddr: net.HardwareAddr{2, 0, 0, 0, 0, 1}})
	}
	if err != nil {
		return fmt.Errorf("natlab: add a neighbour %v: %w", a, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// addBridge makes the switch of a LAN with several hosts.
func addBridge(name string) error {
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: name}}); err != nil {
		return fmt.Errorf("natlab: make a bridge: %w", err)
	}
	return nil
}

// addCable makes a veth pair between the calling thread's namespace and a host's. With a master it becomes a port of that bridge.
func addCable(name string, host *namespace, master string) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	if master != "" {
		bridge, err := netlink.LinkByName(master)
		if err != nil {
			return fmt.Errorf("natlab: find %s: %w", master, err)
		}
		attrs.MasterIndex = bridge.Attrs().Index
	}
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: hostDevice, PeerNamespace: netlink.NsFd(int(host.file.Fd()))}
	if err := netlink.LinkAdd(veth); err != nil {
		return fmt.Errorf("natlab: make a veth pair: %w", err)
	}
	return nil
}

func deviceIndex(name string) (int, error) {
	l, err := netlink.LinkByName(name)
	if err != nil {
		return 0, fmt.Errorf("find %s: %w", name, err)
	}
	return l.Attrs().Index, nil
}

// awaitUp waits until the calling thread's namespace uses its devices: when the other end of a veth pair comes up, the kernel
// activates this one a little later, and drops packets in the meantime.
func awaitUp(devices ...string) error {
	for _, d := range devices {
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
			l, err := netlink.LinkByName(d)
			if err != nil {
				return fmt.Errorf("natlab: find %s: %w", d, err)
			}
			if l.Attrs().OperState == netlink.OperUp {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("natlab: %s did not come up", d)
			}
		}
	}
	return nil
}
