package natlab

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"sync"
)

// site is what stands behind one link: hosts, and the NATs in front of them.
type site struct {
	name     string
	addrs    addresses
	shared   []Profile // NATs that all branches are behind, innermost first
	branches []branch
	fabric   *fabric
	link     *link
	offload  bool
	seed     *rand.Rand

	hosts     []*Host
	boxes     []*box
	firewalls []*firewall
	tuns      []*tun
	pumps     []func()

	started bool
}

// branch is the hosts that are behind the same NATs.
type branch struct {
	name  string
	lan   netip.Prefix // the innermost NAT's inside address and the network's length
	net6  netip.Prefix // the hosts' IPv6 network, or the zero Prefix
	chain []Profile    // innermost first
	hosts int
}

// outlet is where a host or a NAT is plugged in: the Internet, or the inside of a NAT.
type outlet struct {
	addrs   []netip.Prefix // what is plugged in has these addresses
	gateway netip.Addr
	send    func(frame) // takes what leaves it
	// attach has deliver called for what is sent to an address; nil takes the address away.
	attach func(a netip.Addr, deliver func(frame))
}

// plug has deliver called for everything that is sent to the outlet's addresses.
func (o *outlet) plug(deliver func(frame)) {
	for _, a := range o.addrs {
		o.attach(a.Addr(), deliver)
	}
}

// build makes namespaces and devices; nothing moves before start.
func (s *site) build() error {
	out := s.internet
	for i := len(s.shared) - 1; i >= 0; i-- {
		b, err := s.addBox(s.shared[i], out(s.shared[i].addresses()), transit(0, i, i == len(s.shared)-1), nil, netip.Prefix{})
		if err != nil {
			return err
		}
		out = b.outlet
	}
	for i, br := range s.branches {
		if err := s.grow(i, br, out); err != nil {
			return err
		}
	}
	return nil
}

// grow builds a branch from the outside to the inside.
func (s *site) grow(number int, br branch, out func(n int) outlet) error {
	var hosts []*Host
	for range br.hosts {
		h, err := s.addHost(br.name, br.net6.IsValid())
		if err != nil {
			return err
		}
		hosts = append(hosts, h)
	}
	for i := len(br.chain) - 1; i >= 0; i-- {
		p, lan, wired := br.chain[i], br.lan, hosts
		if i > 0 {
			lan, wired = transit(number, i, i == len(br.chain)-1 && len(s.shared) == 0), nil
		}
		net6 := br.net6
		if wired == nil || !p.Kernel {
			net6 = netip.Prefix{}
		}
		b, err := s.addBox(p, out(p.addresses()), lan, wired, net6)
		if err != nil {
			return err
		}
		if out = b.outlet; i == 0 && p.Kernel {
			return nil // the hosts are wired to it
		}
	}
	send6, err := s.outlet6(br, len(br.chain)+len(s.shared) > 0)
	if err != nil {
		return err
	}
	for i, h := range hosts {
		if err := s.addTUN(h, out(1), send6(i)); err != nil {
			return err
		}
	}
	return nil
}

// internet is the outlet of the site's link.
func (s *site) internet(n int) outlet {
	o := outlet{gateway: s.addrs.hop, send: s.toInternet, attach: s.atInternet}
	for _, a := range s.addrs.public(n) {
		o.addrs = append(o.addrs, netip.PrefixFrom(a, 24))
	}
	return o
}

func (s *site) toInternet(f frame) { s.fabric.forward(s.link, f) }

func (s *site) atInternet(a netip.Addr, deliver func(frame)) { s.fabric.attach(s.link, a, deliver) }

// addHost makes a host's namespace. It has addresses once it is plugged in.
func (s *site) addHost(name string, ipv6 bool) (*Host, error) {
	ns, err := newNamespace()
	if err != nil {
		return nil, err
	}
	h := &Host{name: name, ns: ns, public: s.addrs.outside, alternate: s.addrs.alternate}
	h.ctx, h.cancel = context.WithCancel(context.Background())
	s.hosts = append(s.hosts, h)
	return h, ns.run(func() error {
		if err := setupStack(ipv6); err != nil {
			return err
		}
		return configure("lo", netip.Addr{})
	})
}

// addTUN plugs a host into an outlet.
func (s *site) addTUN(h *Host, out, out6 outlet) error {
	h.addrs, h.gateway, h.plug = append(out.addrs, out6.addrs...), out.gateway, plug{at: out}
	h.gateway6 = out6.gateway
	var t *tun
	err := h.ns.run(func() (err error) {
		if t, err = openTUN(hostDevice, s.offload); err != nil {
			return err
		}
		s.tuns = append(s.tuns, t)
		return h.comeUp()
	})
	if err != nil {
		return err
	}
	h.cut = func(cut bool) error { t.cut.Store(cut); return nil }
	h.plug.deliver = t.write
	out.plug(t.write)
	out6.plug(t.write)
	s.pumps = append(s.pumps, func() { t.pump(byVersion(out.send, out6.send)) })
	return nil
}

// byVersion hands frames to one of two; without the second, IPv6 frames go to the first, too.
func byVersion(ipv4, ipv6 func(frame)) func(frame) {
	if ipv6 == nil {
		return ipv4
	}
	return func(f frame) {
		if f.ipv6() {
			ipv6(f)
		} else {
			ipv4(f)
		}
	}
}

func (s *site) start() {
	s.started = true
	for _, pump := range s.pumps {
		go pump()
	}
	for _, b := range s.boxes {
		b.start()
	}
}

// close ends what moves frames.
func (s *site) close() {
	var wg sync.WaitGroup
	for _, t := range s.tuns {
		if !s.started {
			close(t.done)
		}
		wg.Go(t.close)
	}
	wg.Wait()
	for _, b := range s.boxes {
		b.close(s.started)
	}
}

// leave gives up the namespaces.
func (s *site) leave() {
	for _, h := range s.hosts {
		h.ns.run(func() error { abortSockets(); return nil })
		h.ns.close()
	}
	for _, b := range s.boxes {
		b.leave()
	}
	for _, w := range s.firewalls {
		if w.router != nil {
			w.router.close()
		}
	}
}
