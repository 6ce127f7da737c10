package natlab

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// What does not happen while a connection of the probe's own carries some round trips through the same NAT, with a pause before
// each of the path's round trip and a little more, does not happen at all: so silence is told from a busy machine.
const (
	silentRounds = 4
	silentPause  = 20 * time.Millisecond
)

// patienceToConnect is for connections that come about unless the machine is very busy.
const patienceToConnect = 10 * time.Second

// samples is the number of mappings from which the allocation is inferred.
const samples = 16

// sampleGap is between two of them, so that those who share a sequence have the time to show.
const sampleGap = 20 * time.Millisecond

// burst is the number of SYNs sent at once to find a limit of answers.
const burst = 80

// Probe measures the NAT of a host from outside, with sockets on the host and on the server's two addresses. It never looks at
// the profile. Taps on both sides of the NAT tell it the outside endpoint of a SYN that the server leaves unanswered, and what
// gets through. It takes about two seconds.
func Probe(lab *Lab, h *Host) (Behaviour, error) { return probeHost(lab, h, nil) }

// ProbeSlowly measures, besides what [Probe] does, what takes seconds to show. It takes about ten.
func ProbeSlowly(lab *Lab, h *Host) (Behaviour, error) {
	return probeHost(lab, h, []step{(*prober).timers, (*prober).bounds})
}

func probeHost(lab *Lab, h *Host, further []step) (Behaviour, error) {
	p := &prober{lab: lab, host: h}
	defer p.close()
	if err := p.run(further); err != nil {
		return Behaviour{}, fmt.Errorf("natlab: probe host %s: %w", h.name, err)
	}
	return p.found, nil
}

type prober struct {
	lab     *Lab
	host    *Host
	found   Behaviour
	inside  *Capture
	sockets []*socket
	control [2]*socket // both ends of a connection from the host to the server
}

// step measures something.
type step = func(*prober) error

func (p *prober) run(further []step) (err error) {
	if p.inside, err = p.host.Capture(); err != nil {
		return err
	}
	if err := p.connectControl(); err != nil {
		return err
	}
	for _, s := range append([]step{(*prober).termination, (*prober).hops, (*prober).mapping, (*prober).allocation,
		(*prober).filtering, (*prober).unsolicited, (*prober).limit, (*prober).crossing, (*prober).resets, (*prober).errors,
		(*prober).tracking, (*prober).poisoning, (*prober).strays, (*prober).hairpin}, further...) {
		if err := s(p); err != nil {
			return err
		}
	}
	return nil
}

// mapping looks from one inside port at three endpoints, and at one of them twice.
func (p *prober) mapping() error {
	var seen [4]netip.AddrPort
	var listeners [3]*socket
	var port uint16
	var first *socket
	for i, a := range []netip.Addr{p.lab.Server.Addr(), p.lab.Server.Addr(), p.lab.Server.alternate} {
		l, err := p.listen(a)
		if err != nil {
			return err
		}
		listeners[i] = l
	}
	for i, l := range []*socket{listeners[0], listeners[1], listeners[2], listeners[0]} {
		if i == 3 {
			first.close()
		}
		s, from, err := p.meet(port, l)
		if err != nil {
			return err
		}
		if port, seen[i] = s.local().Port(), from; i == 0 {
			first = s
		}
	}
	p.found.Translated = seen[0] != p.inner(port)
	p.found.Mapping = mappingOf(seen)
	return nil
}

// mappingOf tells the mapping by the endpoints that were seen at address 1, at another port of it, at address 2, and in a
// second connection at the first.
func mappingOf(seen [4]netip.AddrPort) Mapping {
	for i := range seen {
		if seen[i].Addr() != seen[0].Addr() && seen[i].Port() == seen[0].Port() {
			seen[i] = seen[0] // pooling is another question
		}
	}
	switch {
	case seen[0] != seen[3]:
		return PerConnection
	case seen[0] == seen[1] && seen[1] == seen[2]:
		return EIM
	case seen[0] == seen[1]:
		return ADM
	}
	return APDM
}

// allocation makes mappings one after the other.
func (p *prober) allocation() error {
	l, err := p.listen(p.lab.Server.Addr())
	if err != nil {
		return err
	}
	var inside, outside []uint16
	var first netip.Addr
	for i := range samples {
		// Ports that the kernel chooses by itself are all odd.
		s, from, err := p.meet(uint16(20000+500*i+rand.IntN(500)), l)
		if err != nil {
			return err
		}
		if !first.IsValid() {
			first = from.Addr()
		} else if from.Addr() != first {
			p.found.Pooling = Arbitrary
		}
		inside, outside = append(inside, s.local().Port()), append(outside, from.Port())
		time.Sleep(sampleGap)
	}
	if !p.found.Translated {
		return nil
	}
	p.found.Allocation, p.found.Background = kindOf(inside, outside)
	p.found.Parity = p.found.Allocation != Preserving && sameParity(inside, outside)
	return nil
}

// filtering dials a mapping with a connection to one endpoint, behind which the host listens, from two others.
func (p *prober) filtering() error {
	l, err := p.listen(p.lab.Server.Addr())
	if err != nil {
		return err
	}
	s, outside, err := p.meet(0, l)
	if err != nil {
		return err
	}
	open, err := p.open(p.host, s.local())
	if err != nil {
		return err
	}
	if err := open.listen(8); err != nil {
		return err
	}
	stranger, err := p.start(netip.AddrPortFrom(p.lab.Server.alternate, 0), outside)
	if err != nil {
		return err
	}
	neighbour, err := p.start(netip.AddrPortFrom(p.lab.Server.Addr(), 0), outside)
	if err != nil {
		return err
	}
	p.found.Filtering, err = p.filterOf(stranger, neighbour)
	return err
}

// filterOf tells the filter by who got through: another address, or another port of the same one.
func (p *prober) filterOf(stranger, neighbour *socket) (Filtering, error) {
	far, err := p.outcome(stranger)
	if err != nil || far == Accepted {
		return EIF, err
	}
	// Both have waited at the same time.
	near, err := neighbour.outcome(0)
	if err != nil || near == Accepted {
		return ADF, err
	}
	return APDF, nil
}

// stranger is an outside endpoint that nothing uses.
func (p *prober) stranger() netip.AddrPort { return netip.AddrPortFrom(p.host.PublicAddr(), 7) }

func (p *prober) unsolicited() (err error) {
	p.found.Unsolicited, err = p.dial(netip.AddrPortFrom(p.lab.Server.alternate, 0), p.stranger())
	return err
}

// limit repeats unsolicited many times at once.
func (p *prober) limit() error {
	if p.found.Unsolicited == Silent {
		return nil
	}
	var dials []*socket
	for range burst {
		s, err := p.open(p.lab.Server, netip.AddrPortFrom(p.lab.Server.alternate, 0))
		if err != nil {
			return err
		}
		if err := s.connect(p.stranger()); err != nil {
			return err
		}
		dials = append(dials, s)
	}
	all, err := p.until(func() bool {
		return !slices.ContainsFunc(dials, func(s *socket) bool { return !s.poll(unix.POLLOUT, 0) })
	})
	p.found.Limited = !all
	return err
}

// crossing has the host send a SYN to an endpoint of the server that stays silent, and then that endpoint send one. The server
// keeps silent by a listener whose queue is full.
func (p *prober) crossing() error {
	silent, err := p.mute()
	if err != nil {
		return err
	}
	_, sent, err := p.syn(0, silent)
	if err != nil {
		return err
	}
	p.found.InboundAfterOutbound, err = p.dial(silent, sent.Src)
	return err
}

// hairpin makes two mappings and has both sockets dial each other's outside endpoint.
func (p *prober) hairpin() error {
	if p.found.Terminated {
		return nil
	}
	l, err := p.listen(p.lab.Server.Addr())
	if err != nil {
		return err
	}
	one, oneOut, err := p.meet(0, l)
	if err != nil {
		return err
	}
	two, twoOut, err := p.meet(0, l)
	if err != nil {
		return err
	}
	var dials [2]*socket
	for i, d := range []struct {
		from *socket
		to   netip.AddrPort
	}{{one, twoOut}, {two, oneOut}} {
		if dials[i], err = p.open(p.host, d.from.local()); err != nil {
			return err
		}
		// The one that is dialled first needs somebody to answer it until the other dials, too.
		if err := p.listenBeside(dials[i]); err != nil {
			return err
		}
		if err := dials[i].connect(d.to); err != nil {
			return err
		}
	}
	p.found.Hairpin, err = p.outcome(dials[0])
	if err != nil || p.found.Hairpin == Accepted {
		return err
	}
	second, err := p.outcome(dials[1])
	p.found.Hairpin = max(p.found.Hairpin, second)
	return err
}
