package main

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/peerd/peerd/punch/natlab"
)

// wire collects the packets between the outside addresses of A and B, and what
// of them the hosts themselves see behind their NATs.
type wire struct {
	hosts  [2]*natlab.Host
	remove func()
	inside [2]*natlab.Capture

	mu      sync.Mutex
	outside []natlab.Packet
}

// watch begins to collect. Stop it before there is bulk traffic.
func watch(lab *natlab.Lab) (*wire, error) {
	w := &wire{hosts: [2]*natlab.Host{lab.A, lab.B}}
	for i, h := range w.hosts {
		c, err := h.Capture()
		if err != nil {
			return nil, err // the lab's Close ends the other one
		}
		w.inside[i] = c
	}
	a, b := lab.A.PublicAddr(), lab.B.PublicAddr()
	w.remove = lab.Tap(func(p natlab.Packet) {
		src, dst := p.Src.Addr(), p.Dst.Addr()
		if src == a && dst == b || src == b && dst == a {
			w.mu.Lock()
			w.outside = append(w.outside, p)
			w.mu.Unlock()
		}
	})
	return w, nil
}

// stop ends the collection and returns the fate of every SYN, in the order in
// which they left.
func (w *wire) stop() []syn {
	w.remove()
	inside := map[string][]natlab.Packet{}
	for i, c := range w.inside {
		inside[w.hosts[i].Name()] = c.Packets()
		c.Close()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return fates(w.outside, inside)
}

// syn is one SYN that left a NAT, and what became of it.
type syn struct {
	From, To string         // "A" or "B"
	Src, Dst netip.AddrPort // outside the NATs
	Number   int            // of the dial at its side, from 1
	Again    bool           // the kernel's retransmission
	Sent     time.Time
	Arrived  time.Time // at the other NAT; zero if it was lost
	Met      fate

	seq uint32
}

// fate is what a SYN meets.
type fate int

const (
	lost      fate = iota // between the NATs
	shortened             // out of hops there: it was to open its own NAT only
	dropped               // by the other NAT
	natReset              // RST from the other NAT
	natICMP               // ICMP destination unreachable from the other NAT
	hostReset             // RST from the other host, where nobody listens or dials
	reached               // the other host, which does not answer
	listener              // SYN-ACK from the other host's listener
	crossed               // SYN-ACK from the socket that dials the other way (RFC 9293 §3.5)
)

// describe says what a SYN met, for people.
func (f fate) describe(from, to string) string {
	switch f {
	case lost:
		return "lost on the way"
	case shortened:
		return fmt.Sprintf("its TTL ends on the way: opens %s's NAT", from)
	case dropped:
		return fmt.Sprintf("%s's NAT drops it", to)
	case natReset:
		return fmt.Sprintf("%s's NAT answers RST", to)
	case natICMP:
		return fmt.Sprintf("%s's NAT answers ICMP unreachable", to)
	case hostReset:
		return fmt.Sprintf("%s's NAT lets it in; %s answers RST", to, to)
	case listener:
		return fmt.Sprintf("%s's NAT lets it in; its listener accepts", to)
	case crossed:
		return fmt.Sprintf("%s's NAT lets it in: it meets %s's own SYN", to, to)
	}
	return fmt.Sprintf("%s's NAT lets it in", to)
}

const (
	// answerWithin is the longest time from a SYN's arrival to the answer to it.
	answerWithin = 100 * time.Millisecond
	// blur is how far the clocks of taps and captures may be apart.
	blur = 2 * time.Millisecond
)

// fates follows every SYN from packets seen outside the NATs and at the hosts.
// Packets in one direction keep their order, so that retransmissions can be
// told apart.
func fates(outside []natlab.Packet, inside map[string][]natlab.Packet) []syn {
	outside = slices.SortedStableFunc(slices.Values(outside), byTime)
	syns := departures(outside)
	arrive(syns, outside)
	for i := range syns {
		if s := &syns[i]; !s.Arrived.IsZero() {
			s.Met = s.meets(outside, inside[s.To], syns)
		}
	}
	return syns
}

func byTime(a, b natlab.Packet) int { return a.Time.Compare(b.Time) }

func isSYN(p natlab.Packet) bool { return p.Flags&(natlab.SYN|natlab.ACK|natlab.RST) == natlab.SYN }

// departures are the SYNs that leave, numbered.
func departures(outside []natlab.Packet) (syns []syn) {
	dials := map[string]int{}
	other := map[string]string{"A": "B", "B": "A"}
	for _, p := range outside {
		if p.Event != natlab.Sent || !isSYN(p) {
			continue
		}
		s := syn{From: p.Link, To: other[p.Link], Src: p.Src, Dst: p.Dst, Sent: p.Time, seq: p.Seq}
		before := slices.IndexFunc(syns, func(o syn) bool { return o.From == s.From && o.seq == s.seq })
		if before >= 0 {
			s.Again, s.Number = true, syns[before].Number
		} else {
			dials[s.From]++
			s.Number = dials[s.From]
		}
		syns = append(syns, s)
	}
	return syns
}

// arrive notes when SYNs arrived, or why they did not.
func arrive(syns []syn, outside []natlab.Packet) {
	done := make([]bool, len(syns))
	for _, p := range outside {
		if p.Event == natlab.Sent || !isSYN(p) {
			continue
		}
		for i := range syns {
			s := &syns[i]
			if done[i] || s.seq != p.Seq || s.Src != p.Src || p.Time.Before(s.Sent) {
				continue
			}
			done[i] = true
			switch {
			case p.Event == natlab.Delivered:
				s.Arrived = p.Time
			case p.TTL <= 1:
				s.Met = shortened
			}
			break
		}
	}
}

// meets returns what became of a SYN that arrived.
func (s *syn) meets(outside, inside []natlab.Packet, all []syn) fate {
	entered := slices.ContainsFunc(inside, func(p natlab.Packet) bool {
		return p.Event == natlab.Delivered && isSYN(p) && p.Seq == s.seq && s.soon(p)
	})
	for _, p := range outside {
		if p.Event != natlab.Sent || p.Link != s.To || !s.soon(p) || p.Dst.Addr() != s.Src.Addr() {
			continue
		}
		answers := p.Dst == s.Src && p.Src == s.Dst && p.Ack == s.seq+1
		switch {
		case p.Proto == protocolICMP && p.Type == icmpUnreachable && !entered:
			return natICMP
		case answers && p.Flags&natlab.RST != 0 && entered:
			return hostReset
		case answers && p.Flags&natlab.RST != 0:
			return natReset
		case answers && p.Flags&natlab.SYN != 0:
			return answerer(p, all)
		}
	}
	if entered {
		return reached
	}
	return dropped
}

// The numbers of ICMP (RFC 792) and of its protocol.
const (
	protocolICMP    = 1
	icmpUnreachable = 3
)

// answerer tells the two sources of a SYN-ACK apart: a socket that dials keeps
// the sequence number of its own SYN.
func answerer(p natlab.Packet, all []syn) fate {
	if slices.ContainsFunc(all, func(o syn) bool { return o.From == p.Link && o.seq == p.Seq }) {
		return crossed
	}
	return listener
}

// soon reports whether a packet can have to do with the SYN's arrival.
func (s *syn) soon(p natlab.Packet) bool {
	d := p.Time.Sub(s.Arrived)
	return d > -blur && d < answerWithin
}
