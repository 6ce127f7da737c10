package natlab

import (
	"errors"
	"net/netip"
	"time"
)

// termination dials who answers nobody.
func (p *prober) termination() error {
	silent, err := p.mute()
	if err != nil {
		return err
	}
	s, err := p.open(p.host, p.inner(0))
	if err != nil {
		return err
	}
	if err := s.connect(silent); err != nil {
		return err
	}
	a, err := p.outcome(s)
	p.found.Terminated = a == Accepted
	return err
}

// mostNATs is how many the probe looks behind.
const mostNATs = 8

// hops finds the least TTL with which a SYN leaves the NATs.
func (p *prober) hops() error {
	for ; p.found.NATs <= mostNATs; p.found.NATs++ {
		to, err := p.refusing()
		if err != nil {
			return err
		}
		switch _, _, err := p.trySYN(0, to, p.found.NATs+1); {
		case err == nil:
			return nil
		case err != errNothingLeft:
			return err
		}
	}
	return errors.New("too many NATs")
}

// resets has an endpoint of the server refuse a SYN and then send one itself.
func (p *prober) resets() error {
	if p.found.InboundAfterOutbound != Accepted || p.found.Terminated {
		return nil
	}
	to, err := p.refusing()
	if err != nil {
		return err
	}
	s, sent, err := p.syn(0, to)
	if err != nil {
		return err
	}
	if a, err := s.outcome(patienceToConnect); a != Reset {
		return orAnswer(err, "connect to a closed port", a)
	}
	p.found.OnRST, err = p.afterError(s, to, sent.Src)
	return err
}

// errors has the Internet's first router end a SYN, and then the endpoint that it was for send one. The server keeps silent.
func (p *prober) errors() error {
	if p.found.InboundAfterOutbound != Accepted || p.found.Terminated || p.lab.cfg.QuietHops {
		return nil
	}
	to, err := p.mute()
	if err != nil {
		return err
	}
	s, sent, err := p.trySYN(0, to, p.found.NATs+1)
	if err != nil {
		return err
	}
	if a, err := s.outcome(patienceToConnect); a != Unreachable {
		return orAnswer(err, "have a TTL end", a)
	}
	p.found.OnICMP, err = p.afterError(s, to, sent.Src)
	p.found.OnICMP = min(p.found.OnICMP, Delete)
	return err
}

// afterError tells what became of a mapping whose only dial has ended.
func (p *prober) afterError(dial *socket, remote, outside netip.AddrPort) (ErrorPolicy, error) {
	port := dial.local().Port()
	switch through, err := p.reaches(remote, outside); {
	case err != nil || through:
		return Keep, err
	}
	dial.close()
	switch _, _, err := p.trySYN(port, remote, fullTTL); err {
	case nil:
		return Delete, nil
	case errNothingLeft:
		return DeleteAndBlock, nil
	default:
		return Keep, err
	}
}

// isnClock is how long it takes until a new socket's first sequence number is beyond the window of the last one's: Linux counts
// one in 64 ns, and a window without scaling is 65535 at most.
const isnClock = 20 * time.Millisecond

// tracking compares the sequence number of a SYN on both sides. Then it has a listener answer the other side's SYN in place of
// the dial that let it in: its sequence number is another one.
func (p *prober) tracking() error {
	if p.found.Terminated {
		return nil
	}
	silent, err := p.mute()
	if err != nil {
		return err
	}
	s, sent, err := p.syn(0, silent)
	if err != nil {
		return err
	}
	local := s.local()
	for _, k := range p.inside.Packets() {
		if k.Event == Sent && k.Src == local && k.Dst == silent && k.Flags.opens() && k.Seq != sent.Seq {
			p.found.Tracking = RewriteISN
			return nil
		}
	}
	if p.found.InboundAfterOutbound != Accepted {
		return nil
	}
	s.close()
	l, err := p.open(p.host, local)
	if err != nil {
		return err
	}
	if err := l.listen(1); err != nil {
		return err
	}
	time.Sleep(isnClock)
	a, err := p.dial(silent, sent.Src)
	if a != Accepted {
		p.found.Tracking = Strict
	}
	return err
}

// poisoning has an endpoint of the server send a SYN to a mapping before the host dials that endpoint.
func (p *prober) poisoning() error {
	if p.found.Terminated || !p.found.Translated || p.found.Mapping != EIM {
		return nil
	}
	l, err := p.listen(p.lab.Server.Addr())
	if err != nil {
		return err
	}
	silent, err := p.mute()
	if err != nil {
		return err
	}
	s, outside, err := p.meet(0, l)
	if err != nil {
		return err
	}
	// What becomes of the SYN shows after a round trip at most.
	if _, err := p.dial(silent, outside); err != nil {
		return err
	}
	_, sent, err := p.syn(s.local().Port(), silent)
	p.found.Poisoned = err == nil && sent.Src != outside
	return err
}

// strays sends a segment of a connection that only the host knows of.
func (p *prober) strays() error {
	if p.found.Terminated {
		return nil
	}
	to, err := p.refusing()
	if err != nil {
		return err
	}
	left := make(chan struct{}, 1)
	defer p.lab.Tap(func(k Packet) {
		if k.Event == Sent && k.Dst == to {
			select {
			case left <- struct{}{}:
			default:
			}
		}
	})()
	s, err := p.open(p.host, p.inner(0))
	if err != nil {
		return err
	}
	if err := s.pretend(to); err != nil {
		return err
	}
	ended, err := p.until(func() bool { return s.poll(0, 0) })
	if err != nil || !ended {
		return err
	}
	a, err := s.outcome(0)
	p.found.ExpiredRST = a == Reset && len(left) == 0
	return err
}
