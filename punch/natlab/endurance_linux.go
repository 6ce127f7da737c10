package natlab

import (
	"net/netip"
	"sync"
	"time"
)

const (
	// longWait is longer than an answer that RFC 5382 REQ-4 delays, and than MikroTik's timer of unanswered SYNs.
	longWait = 7 * time.Second
	// late is what no answer takes that is given at once.
	late = 2 * time.Second
	// many is beyond the sessions of a bounded subscriber.
	many = 600
	// atOnce of them fit into the queue of a TUN device.
	atOnce = 100
	// sentAgain is when a SYN has been sent three times more.
	sentAgain = 3500 * time.Millisecond
)

// timers waits for a late answer to an unsolicited SYN, and for an unanswered SYN to be forgotten.
func (p *prober) timers() error {
	silent, err := p.mute()
	if err != nil {
		return err
	}
	s, sent, err := p.syn(0, silent)
	if err != nil {
		return err
	}
	s.close() // else retransmissions restart the timer
	began := time.Now()
	if p.found.Unsolicited == Silent {
		stranger := netip.AddrPortFrom(p.stranger().Addr(), p.stranger().Port()+1)
		d, err := p.start(netip.AddrPortFrom(p.lab.Server.alternate, 0), stranger)
		if err != nil {
			return err
		}
		if p.found.Unsolicited, err = d.outcome(longWait); err != nil {
			return err
		}
		p.found.Late = p.found.Unsolicited != Silent && time.Since(began) > late
	}
	time.Sleep(time.Until(began.Add(longWait)))
	if p.found.InboundAfterOutbound == Accepted && !p.found.Terminated {
		through, err := p.reaches(silent, sent.Src)
		p.found.ShortSYN = !through
		return err
	}
	return nil
}

// bounds dials one endpoint from many ports.
func (p *prober) bounds() error {
	if p.found.Terminated {
		return nil // its dials leave when they like
	}
	silent, err := p.mute()
	if err != nil {
		return err
	}
	var mu sync.Mutex
	outside := map[netip.AddrPort]bool{}
	defer p.lab.Tap(func(k Packet) {
		if k.Event == Sent && k.Dst == silent && k.Flags.opens() {
			mu.Lock()
			defer mu.Unlock()
			outside[k.Src] = true
		}
	})()
	for i := range many {
		if i%atOnce == 0 {
			if err := p.ping(); err != nil {
				return err
			}
		}
		s, err := p.open(p.host, p.inner(0))
		if err != nil {
			return err
		}
		if err := s.connect(silent); err != nil {
			return err
		}
	}
	// What a busy machine lets overflow on the way comes again.
	for again := time.Now().Add(sentAgain); ; {
		all, err := p.until(func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(outside) == many
		})
		if p.found.Bounded = !all; err != nil || all || time.Now().After(again) {
			return err
		}
	}
}
