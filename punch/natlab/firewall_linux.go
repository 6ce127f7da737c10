package natlab

import "net/netip"

// firewall is a router that filters IPv6, for hosts which no kernel NAT is in front of anyway.
type firewall struct {
	router   *namespace
	lan, wan *tun
	inside   table[func(frame)]
}

// outlet6 is where the hosts of a branch plug their IPv6 in: at the Internet, or behind a firewall. The i-th host gets the i-th
// outlet, which is empty without IPv6.
func (s *site) outlet6(br branch, filtered bool) (func(i int) outlet, error) {
	switch {
	case !br.net6.IsValid():
		return func(int) outlet { return outlet{} }, nil
	case !filtered:
		return func(int) outlet { return s.internet6(br.net6) }, nil
	}
	w := &firewall{}
	s.firewalls = append(s.firewalls, w)
	if err := w.build(s, br.net6); err != nil {
		return nil, err
	}
	return func(i int) outlet {
		own := in6(br.net6, host6+i)
		s.atInternet(own, w.wan.write)
		return outlet{addrs: []netip.Prefix{netip.PrefixFrom(own, br.net6.Bits())}, gateway: in6(br.net6, gateway6),
			send: w.lan.write, attach: w.inside.set}
	}, nil
}

// internet6 is the outlet of a public host.
func (s *site) internet6(net6 netip.Prefix) outlet {
	o := outlet{gateway: in6(net6, internet6), send: s.toInternet, attach: s.atInternet}
	own := []netip.Addr{in6(net6, host6)}
	if s.addrs.alternate.IsValid() {
		own = append(own, in6(net6, host6+alternate6))
	}
	for _, a := range own {
		o.addrs = append(o.addrs, netip.PrefixFrom(a, net6.Bits()))
	}
	return o
}

func (w *firewall) build(s *site, net6 netip.Prefix) (err error) {
	if w.router, err = newNamespace(); err != nil {
		return err
	}
	if err := w.router.run(func() error { return w.setup(s, net6) }); err != nil {
		return err
	}
	s.pumps = append(s.pumps,
		func() { w.wan.pump(s.toInternet) },
		func() { w.lan.pump(w.toInside) })
	return nil
}

// setup runs in the firewall's namespace.
func (w *firewall) setup(s *site, net6 netip.Prefix) (err error) {
	if err := setupStack(true); err != nil {
		return err
	}
	for _, d := range []struct {
		name string
		t    **tun
	}{{wanName, &w.wan}, {lanName, &w.lan}} {
		if *d.t, err = openTUN(d.name, s.offload); err != nil {
			return err
		}
		s.tuns = append(s.tuns, *d.t)
		if err := configure(d.name, netip.Addr{}); err != nil {
			return err
		}
	}
	return routeIPv6(net6)
}

// toInside delivers a frame by its destination.
func (w *firewall) toInside(f frame) {
	if p, ok := parse(f); ok {
		if deliver := w.inside.get(p.dst.Addr()); deliver != nil {
			deliver(f)
		}
	}
}

// routeIPv6 makes the calling thread's namespace the router and firewall of a network on its inside.
func routeIPv6(net6 netip.Prefix) error {
	if err := setupFirewall(); err != nil {
		return err
	}
	if err := configure(lanName, netip.Addr{}, netip.PrefixFrom(in6(net6, gateway6), net6.Bits())); err != nil {
		return err
	}
	return addDefault(wanName, netip.Addr{})
}
