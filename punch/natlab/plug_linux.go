package natlab

import (
	"fmt"
	"net/netip"
)

// plug is how a host is connected: by its own device to an outlet, or by a cable to a port of a router.
type plug struct {
	at      outlet
	deliver func(frame)

	wired  bool
	router *namespace
	port   string
}

// Unplug takes a host's interface down: it loses its addresses and routes, and programs on the host are told so, unlike by
// [Lab.Cut]. NATs keep their state.
func (l *Lab) Unplug(h *Host) error {
	return h.ns.run(func() error { return takeDown(hostDevice) })
}

// Plug brings the interface of a host that is unplugged up again, with another address of the same network in place of its
// main one, or with the one that it had if addr is zero. Without a NAT the other address is also where the Internet finds it.
func (l *Lab) Plug(h *Host, addr netip.Addr) error {
	if addr.IsValid() && addr != h.Addr() {
		if err := l.readdress(h, addr); err != nil {
			return err
		}
	}
	if err := h.ns.run(h.comeUp); err != nil || !h.plug.wired {
		return err
	}
	return h.plug.router.run(func() error { return awaitUp(h.plug.port, lanName) })
}

// readdress gives a host another main address.
func (l *Lab) readdress(h *Host, addr netip.Addr) error {
	addrs := h.addresses()
	old := addrs[0]
	if !old.Contains(addr) || addr == h.gateway || l.taken(addr) {
		return fmt.Errorf("natlab: %v is not a free address of %v", addr, old.Masked())
	}
	addrs[0] = netip.PrefixFrom(addr, old.Bits())
	h.mu.Lock()
	h.addrs = addrs
	if h.public == old.Addr() {
		h.public = addr
	}
	h.mu.Unlock()
	if h.plug.wired {
		return nil
	}
	h.plug.at.attach(old.Addr(), nil)
	h.plug.at.attach(addr, h.plug.deliver)
	return nil
}

// taken reports whether a host or the Internet has an address.
func (l *Lab) taken(addr netip.Addr) bool {
	for _, h := range []*Host{l.Server, l.A, l.B} {
		for _, a := range h.addresses() {
			if a.Addr() == addr {
				return true
			}
		}
	}
	return l.fabric.routes.get(addr) != nil
}

// addresses is a copy.
func (h *Host) addresses() []netip.Prefix {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]netip.Prefix(nil), h.addrs...)
}

// comeUp configures the host's interface, in its namespace.
func (h *Host) comeUp() error {
	if err := configure(hostDevice, h.gateway, h.addresses()...); err != nil {
		return err
	}
	if h.gateway6.IsValid() {
		if err := addDefault(hostDevice, h.gateway6); err != nil {
			return err
		}
	}
	if !h.plug.wired {
		return nil
	}
	return awaitUp(hostDevice)
}
