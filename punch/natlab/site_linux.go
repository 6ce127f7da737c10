package natlab

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
)

// site is what stands behind one link: hosts, and the NAT if there is one.
type site struct {
	name    string
	profile Profile
	addrs   addresses
	fabric  *fabric
	link    *link
	size    int // number of hosts
	offload bool
	seed    *rand.Rand

	hosts  []*Host
	router *namespace          // of a kernel NAT
	wan    *tun                // of a kernel NAT
	cables map[netip.Addr]*tun // the hosts' own devices, where these are TUNs
	nat    *userNAT
	pumps  []func()

	started bool
}

// build makes namespaces and devices; nothing moves before start.
func (s *site) build() error {
	s.cables = map[netip.Addr]*tun{}
	for i := range s.size {
		if err := s.addHost(i); err != nil {
			return err
		}
	}
	switch {
	case s.profile.Kernel:
		return s.buildKernel()
	case s.profile.NAT != nil:
		return s.buildUser()
	}
	return s.buildPublic()
}

func (s *site) addHost(i int) error {
	ns, err := newNamespace()
	if err != nil {
		return err
	}
	h := &Host{name: s.name, ns: ns, addr: s.addrs.outside, public: s.addrs.outside, alternate: s.addrs.alternate,
		gateway: s.addrs.hop}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	s.hosts = append(s.hosts, h)
	if s.profile.Kernel || s.profile.NAT != nil {
		h.addr, h.gateway = s.addrs.host(i), s.addrs.lan.Addr()
	}
	return ns.run(func() error {
		if err := setupStack(); err != nil {
			return err
		}
		return configure("lo", netip.Addr{})
	})
}

// buildPublic connects a host straight to the fabric.
func (s *site) buildPublic() error {
	h := s.hosts[0]
	var addrs []netip.Prefix
	for _, a := range s.addrs.public() {
		addrs = append(addrs, netip.PrefixFrom(a, 24))
	}
	t, err := s.addTUN(h, addrs...)
	if err != nil {
		return err
	}
	s.link.deliver = t.write
	s.pumps = append(s.pumps, func() { t.pump(func(f frame) { s.fabric.forward(s.link, f) }) })
	return nil
}

// buildUser connects the hosts to a userspace NAT.
func (s *site) buildUser() error {
	tr := newTranslator(*s.profile.NAT, s.addrs.lan.Masked(), s.addrs.lan.Addr(), s.addrs.outside, s.seed)
	s.nat = &userNAT{site: s, t: tr, done: make(chan struct{}), quit: make(chan struct{})}
	s.link.deliver = s.nat.fromOutside
	for _, h := range s.hosts {
		t, err := s.addTUN(h, netip.PrefixFrom(h.addr, s.addrs.lan.Bits()))
		if err != nil {
			return err
		}
		s.pumps = append(s.pumps, func() { t.pump(s.nat.fromInside) })
	}
	return nil
}

// addTUN gives a host its device.
func (s *site) addTUN(h *Host, addrs ...netip.Prefix) (*tun, error) {
	var t *tun
	err := h.ns.run(func() (err error) {
		if t, err = openTUN(hostDevice, s.offload); err != nil {
			return err
		}
		s.cables[h.addr] = t
		return configure(hostDevice, h.gateway, addrs...)
	})
	h.cut = func(cut bool) error { t.cut.Store(cut); return nil }
	return t, err
}

// buildKernel makes the router's namespace and connects the hosts to it.
func (s *site) buildKernel() (err error) {
	if s.router, err = newNamespace(); err != nil {
		return err
	}
	if err := s.router.run(s.setupRouter); err != nil {
		return err
	}
	s.link.deliver = s.wan.write
	s.pumps = append(s.pumps, func() { s.wan.pump(func(f frame) { s.fabric.forward(s.link, f) }) })
	devices := []string{lanName}
	for i, h := range s.hosts {
		port := s.port(i)
		devices = append(devices, port)
		h.cut = func(cut bool) error { return cutCable(s.router, port, h, cut) }
		if err := h.ns.run(func() error { return s.plugHost(h) }); err != nil {
			return err
		}
	}
	return s.router.run(func() error { return awaitUp(devices...) })
}

// plugHost runs in the host's namespace.
func (s *site) plugHost(h *Host) error {
	if err := configure(hostDevice, h.gateway, netip.PrefixFrom(h.addr, s.addrs.lan.Bits())); err != nil {
		return err
	}
	return awaitUp(hostDevice)
}

// setupRouter runs in the router's namespace.
func (s *site) setupRouter() (err error) {
	if err := setupStack(); err != nil {
		return err
	}
	if err := setupKernelNAT(s.profile.rules); err != nil {
		return err
	}
	if s.wan, err = openTUN(wanName, s.offload); err != nil {
		return err
	}
	if err := s.plugIn(); err != nil {
		return err
	}
	if err := configure("lo", netip.Addr{}); err != nil {
		return err
	}
	if err := configure(wanName, s.addrs.hop, netip.PrefixFrom(s.addrs.outside, 24)); err != nil {
		return err
	}
	return configure(lanName, netip.Addr{}, s.addrs.lan)
}

// plugIn makes the LAN's device: the end of the cable to the only host, or a bridge with a port for each.
func (s *site) plugIn() error {
	if s.size == 1 {
		return addCable(s.port(0), s.hosts[0].ns, "")
	}
	if err := addBridge(lanName); err != nil {
		return err
	}
	for i, h := range s.hosts {
		if err := addCable(s.port(i), h.ns, lanName); err != nil {
			return err
		}
		if err := configure(s.port(i), netip.Addr{}); err != nil {
			return err
		}
	}
	return nil
}

// port is the router's end of a host's cable.
func (s *site) port(i int) string {
	if s.size == 1 {
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

func (s *site) start() {
	s.started = true
	for _, pump := range s.pumps {
		go pump()
	}
	if s.nat != nil {
		go s.nat.answerLate()
	}
}

// close ends what moves frames.
func (s *site) close() {
	var wg sync.WaitGroup
	for _, t := range s.tuns() {
		if !s.started {
			close(t.done)
		}
		wg.Go(t.close)
	}
	wg.Wait()
	if s.nat != nil && s.started {
		s.nat.close()
	}
}

func (s *site) tuns() []*tun {
	var all []*tun
	for _, t := range s.cables {
		all = append(all, t)
	}
	if s.wan != nil {
		all = append(all, s.wan)
	}
	return all
}

// leave gives up the namespaces.
func (s *site) leave() {
	for _, h := range s.hosts {
		h.ns.run(func() error { abortSockets(); return nil })
		h.ns.close()
	}
	if s.router != nil {
		s.router.close()
	}
}
