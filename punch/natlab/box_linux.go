package natlab

import (
	"fmt"
	"net/netip"
)

// box is one NAT: a userspace one, or the kernel's in a namespace of its own. Its outside is plugged into an outlet, and it is
// one for what is on its inside.
type box struct {
	site    *site
	profile Profile
	out     outlet
	lan     netip.Prefix // its inside address, and the network's length
	net6    netip.Prefix // the hosts' IPv6 network, if hosts are connected by cables and have one

	inside table[func(frame)] // who takes what is for an inside address
	used   int                // inside addresses that are given away

	nat    *userNAT
	router *namespace // of a kernel NAT
	wan    *tun
	wired  *tun // the inside, unless hosts are connected by cables
	proxy  *proxy
}

// addBox makes a NAT. Hosts are for a kernel NAT to be connected by cables; without, its inside is for [box.outlet].
func (s *site) addBox(p Profile, out outlet, lan netip.Prefix, hosts []*Host, net6 netip.Prefix) (*box, error) {
	b := &box{site: s, profile: p, out: out, lan: lan, net6: net6}
	s.boxes = append(s.boxes, b)
	if p.Kernel {
		return b, b.buildKernel(hosts)
	}
	var pool []netip.Addr
	for _, a := range out.addrs {
		pool = append(pool, a.Addr())
	}
	b.nat = &userNAT{box: b, t: newTranslator(*p.NAT, lan.Masked(), lan.Addr(), pool, s.seed),
		done: make(chan struct{}), quit: make(chan struct{})}
	out.plug(b.nat.fromOutside)
	return b, nil
}

// outlet gives n inside addresses away.
func (b *box) outlet(n int) outlet {
	o := outlet{gateway: b.lan.Addr(), send: b.fromInside, attach: b.inside.set}
	for range n {
		o.addrs = append(o.addrs, netip.PrefixFrom(nth(b.lan, b.used), b.lan.Bits()))
		b.used++
	}
	return o
}

// fromInside takes a frame of somebody who is plugged in.
func (b *box) fromInside(f frame) {
	if b.nat != nil {
		b.nat.fromInside(f)
		return
	}
	b.wired.write(f)
}

// toInside delivers a frame by its destination.
func (b *box) toInside(f frame) {
	p, ok := parse(f)
	if !ok {
		return
	}
	if deliver := b.inside.get(p.dst.Addr()); deliver != nil {
		deliver(f)
	}
}

// buildKernel makes the router's namespace, and connects the hosts to it.
func (b *box) buildKernel(hosts []*Host) (err error) {
	if b.router, err = newNamespace(); err != nil {
		return err
	}
	if err := b.router.run(func() error { return b.setupRouter(hosts) }); err != nil {
		return err
	}
	b.out.plug(b.wan.write)
	var send6 func(frame)
	if b.net6.IsValid() {
		send6 = b.site.toInternet
	}
	b.site.pumps = append(b.site.pumps, func() { b.wan.pump(byVersion(b.out.send, send6)) })
	if b.wired != nil {
		b.site.pumps = append(b.site.pumps, func() { b.wired.pump(b.toInside) })
	} else if err := b.plugHosts(hosts); err != nil {
		return err
	}
	if b.profile.rules.proxy {
		b.proxy, err = newProxy(b)
	}
	return err
}

// plugHosts configures the hosts' ends of the cables.
func (b *box) plugHosts(hosts []*Host) error {
	devices := []string{lanName}
	for i, h := range hosts {
		port := cablePort(i, len(hosts))
		devices = append(devices, port)
		h.addrs, h.gateway = []netip.Prefix{netip.PrefixFrom(nth(b.lan, b.used), b.lan.Bits())}, b.lan.Addr()
		b.used++
		h.plug = plug{wired: true, router: b.router, port: port}
		if b.net6.IsValid() {
			own := in6(b.net6, host6+i)
			h.addrs, h.gateway6 = append(h.addrs, netip.PrefixFrom(own, b.net6.Bits())), in6(b.net6, gateway6)
			b.site.atInternet(own, b.wan.write)
		}
		h.cut = func(cut bool) error { return cutCable(b.router, port, h, cut) }
		if err := h.ns.run(h.comeUp); err != nil {
			return err
		}
	}
	return b.router.run(func() error { return awaitUp(devices...) })
}

// setupRouter runs in the router's namespace.
func (b *box) setupRouter(hosts []*Host) (err error) {
	if err := setupStack(b.net6.IsValid()); err != nil {
		return err
	}
	if err := setupKernelNAT(b.profile.rules, b.deadHost()); err != nil {
		return err
	}
	if b.wan, err = b.addDevice(wanName); err != nil {
		return err
	}
	if len(hosts) == 0 {
		b.wired, err = b.addDevice(lanName)
	} else {
		err = plugIn(hosts)
	}
	if err != nil {
		return err
	}
	if err := configure("lo", netip.Addr{}); err != nil {
		return err
	}
	if err := configure(wanName, b.out.gateway, b.out.addrs...); err != nil {
		return err
	}
	if err := configure(lanName, netip.Addr{}, b.lan); err != nil {
		return err
	}
	if b.net6.IsValid() {
		if err := routeIPv6(b.net6); err != nil {
			return err
		}
	}
	if b.profile.rules.dmz && b.wired == nil {
		return addNeighbour(lanName, b.deadHost())
	}
	return nil
}

// deadHost is an inside address that nobody has.
func (b *box) deadHost() netip.Addr { return nth(b.lan, 200) }

func (b *box) addDevice(name string) (*tun, error) {
	t, err := openTUN(name, b.site.offload)
	if err == nil {
		b.site.tuns = append(b.site.tuns, t)
	}
	return t, err
}

// plugIn makes the LAN's device: the end of the cable to the only host, or a bridge with a port for each.
func plugIn(hosts []*Host) error {
	if len(hosts) == 1 {
		return addCable(cablePort(0, 1), hosts[0].ns, "")
	}
	if err := addBridge(lanName); err != nil {
		return err
	}
	for i, h := range hosts {
		port := cablePort(i, len(hosts))
		if err := addCable(port, h.ns, lanName); err != nil {
			return err
		}
		if err := configure(port, netip.Addr{}); err != nil {
			return err
		}
	}
	return nil
}

// cablePort is the router's end of the i-th of n cables.
func cablePort(i, n int) string {
	if n == 1 {
		return lanName
	}
	return fmt.Sprint(lanName, i)
}

// cutCable drops what arrives at either end.
func cutCable(router *namespace, port string, h *Host, cut bool) error {
	if err := router.run(func() error { return cutIngress(port, cut) }); err != nil {
		return err
	}
	return h.ns.run(func() error { return cutIngress(hostDevice, cut) })
}

func (b *box) start() {
	if b.nat != nil {
		go b.nat.answerLate()
	}
	if b.proxy != nil {
		b.proxy.start()
	}
}

// close ends what runs in the box.
func (b *box) close(started bool) {
	if b.nat != nil && started {
		b.nat.close()
	}
	if b.proxy != nil {
		b.proxy.close()
	}
}

// leave gives up the namespace.
func (b *box) leave() {
	if b.router != nil {
		b.router.run(func() error { abortSockets(); return nil })
		b.router.close()
	}
}
