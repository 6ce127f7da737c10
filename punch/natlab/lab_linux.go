package natlab

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// Lab is a server, two hosts, their NATs and what is between them. Its methods are safe for concurrent use.
type Lab struct {
	// Server is a public host with two addresses. A and B are the peers.
	Server, A, B *Host

	cfg    Config
	fabric *fabric
	sites  []*site
	once   sync.Once
}

// New makes a lab. The caller closes it.
func New(cfg Config) (*Lab, error) {
	cfg, err := cfg.resolve()
	if err != nil {
		return nil, err
	}
	q, err := newQueue()
	if err != nil {
		return nil, err
	}
	l := &Lab{cfg: cfg, fabric: &fabric{queue: q, quiet: cfg.QuietHops}}
	if err := l.build(); err != nil {
		l.Close()
		return nil, err
	}
	for _, s := range l.sites {
		s.start()
	}
	return l, nil
}

// build makes the sites, side by side because most of the time goes into waiting for the kernel.
func (l *Lab) build() error {
	a := branch{name: "A", lan: siteA.lan, chain: l.cfg.A.chain(), hosts: 1}
	b := branch{name: "B", lan: siteB.lan, chain: l.cfg.B.chain(), hosts: 1}
	server := branch{name: "server", hosts: 1}
	if l.cfg.IPv6 {
		a.net6, b.net6, server.net6 = siteA.net6, siteB.net6, siteServer.net6
	}
	l.sites = []*site{l.newSite("server", siteServer, nil, server)}
	carrier := isolated(l.cfg.Carrier.chain())
	switch {
	case l.cfg.SameNAT:
		a.hosts, a.chain = 2, append(a.chain, carrier...)
		l.sites = append(l.sites, l.newSite("A", siteA, nil, a))
	case len(carrier) > 0:
		l.sites = append(l.sites, l.newSite("A", siteA, carrier, a, b))
	default:
		l.sites = append(l.sites, l.newSite("A", siteA, nil, a), l.newSite("B", siteB, nil, b))
	}
	errs := make([]error, len(l.sites))
	var wg sync.WaitGroup
	for i, s := range l.sites {
		wg.Go(func() { errs[i] = s.build() })
	}
	wg.Wait()
	if err := cmp.Or(errs...); err != nil {
		return err
	}
	var hosts []*Host
	for _, s := range l.sites {
		hosts = append(hosts, s.hosts...)
	}
	l.Server, l.A, l.B = hosts[0], hosts[1], hosts[2]
	l.B.name = "B"
	return nil
}

// isolated keeps the subscribers of a carrier apart.
func isolated(chain []Profile) []Profile {
	for i := range chain {
		if p := &chain[i]; p.Kernel {
			p.rules.isolated = true
		} else {
			n := *p.NAT
			n.Isolated, p.NAT = true, &n
		}
	}
	return chain
}

// newSite prepares a site and its link. The server's link is perfect.
func (l *Lab) newSite(name string, addrs addresses, shared []Profile, branches ...branch) *site {
	rng := rand.New(rand.NewPCG(l.cfg.Seed, uint64(name[0])))
	ln := &link{name: name, hop: addrs.hop, hop6: in6(addrs.net6, internet6), rng: rng, last: map[*link]time.Time{}}
	if name != "server" {
		ln.delay, ln.jitter, ln.loss = l.cfg.RTT/4, l.cfg.Jitter/2, l.cfg.linkLoss()
		ln.line = line{rate: l.cfg.Rate, queue: l.cfg.queue()}
	}
	for _, p := range slices.Concat(branches[0].chain, shared) {
		if p.NAT != nil {
			ln.delay, ln.jitter = ln.delay+p.NAT.Delay, ln.jitter+p.NAT.Jitter
			ln.loss = 1 - (1-ln.loss)*(1-p.NAT.Loss)
		}
	}
	s := &site{name: name, addrs: addrs, shared: shared, branches: branches, fabric: l.fabric, link: ln, offload: l.superPackets()}
	s.seed = rand.New(rand.NewPCG(l.cfg.Seed, uint64(name[0])<<8))
	return s
}

// superPackets reports whether they may be used: a lost one would be many segments, and one that takes its time a burst.
func (l *Lab) superPackets() bool {
	for _, p := range slices.Concat(l.cfg.A.chain(), l.cfg.B.chain(), l.cfg.Carrier.chain()) {
		if p.NAT != nil && p.NAT.Loss > 0 {
			return false
		}
	}
	return l.cfg.Loss == 0 && l.cfg.Rate == 0
}

// Close kills the processes that still run in the lab, aborts its connections, removes all namespaces and devices, and waits
// for all goroutines of the lab. Sockets made in this process are still the caller's to close: a namespace ends with the last.
func (l *Lab) Close() error {
	l.once.Do(l.close)
	return nil
}

func (l *Lab) close() {
	l.everywhere(func(s *site) {
		for _, h := range s.hosts {
			h.close()
		}
	})
	l.everywhere((*site).close)
	l.fabric.queue.close()
	l.everywhere((*site).leave)
}

// Tap shows every packet at the public side of the sites to see, until remove is called: when it leaves a site after its NAT,
// when it arrives before the NAT, and when it is dropped between. see is called from several goroutines at once, sometimes with
// a lock of the lab held: it must return quickly and use neither the lab nor a socket in it. A call may still be under way when
// remove returns.
func (l *Lab) Tap(see func(Packet)) (remove func()) { return l.fabric.tap(see) }

// Cut black-holes a host's own cable, or restores it: packets vanish in both directions and nobody is told. The NAT keeps its
// state and keeps answering.
func (l *Lab) Cut(h *Host, cut bool) error { return h.cut(cut) }

// Spoil changes the payload of the next packet that leaves a site and for which which returns true, so that its checksum still
// is right: only who looks closer notices. It is only asked about TCP with payload; nil takes an earlier call back. What Tap
// says of see holds for which.
func (l *Lab) Spoil(which func(Packet) bool) {
	if which == nil {
		l.fabric.spoil.Store(nil)
		return
	}
	l.fabric.spoil.Store(&which)
}

// everywhere calls f for all sites at once and waits.
func (l *Lab) everywhere(f func(*site)) {
	var wg sync.WaitGroup
	for _, s := range l.sites {
		wg.Go(func() { f(s) })
	}
	wg.Wait()
}
