//go:build linux

package main

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch"
	"github.com/peerd/peerd/punch/natlab"
	"github.com/peerd/peerd/punch/reuse"
)

// Two endpoints are spoilt on purpose, as a program does that stands still with a
// dial that has ended: A's NAT, netfilter, has seen a SYN of either side, and holds the numbers of
// both for two minutes. Only what is dialled between spare ports connects.
func TestSparePortsThroughTheLab(t *testing.T) {
	natlab.Require(t)
	for _, modes := range [][2]reuse.Mode{{reuse.DialOnly, reuse.DialOnly}, {reuse.Sequential, reuse.Shared}} {
		t.Run(modes[0].String()+", "+modes[1].String(), func(t *testing.T) {
			lab, err := natlab.New(natlab.Config{A: labProfile(t, "linux-icmp"), B: labProfile(t, "linux-open"), RTT: ladderRTT, Seed: 1})
			if err != nil {
				t.Fatal(err)
			}
			defer lab.Close()
			punchers := [2]*puncher{newPuncherIn(t, lab.A, 40100, modes[0]), newPuncherIn(t, lab.B, 40200, modes[1])}
			spoil(t, lab, punchers)
			transcript := &proto.Transcript{Introduction: proto.NewToken(), PlanVersion: proto.PlanVersion,
				Initiator: punchers[0].party(1), Responder: punchers[1].party(2)}
			heard := make(chan error)
			var proven proofs
			for i, p := range punchers {
				run := p.startWith(t, transcript, proto.Role(i+1), proven.note)
				go func() { heard <- hear(run) }()
			}
			for range punchers {
				if err := <-heard; err != nil {
					t.Fatal(err)
				}
			}
			proven.wantAll(t, punch.Spare)
		})
	}
}

// proofs are the ideas of the connections that were proven. The zero value is none.
type proofs struct {
	mu    sync.Mutex
	ideas []punch.Idea
}

func (p *proofs) note(e punch.Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.Kind == punch.Proven || e.Kind == punch.Accepted {
		p.ideas = append(p.ideas, e.Idea)
	}
}

func (p *proofs) wantAll(t *testing.T, idea punch.Idea) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, got := range p.ideas {
		if got != idea {
			t.Errorf("connected by %v, want %v alone", p.ideas, idea)
		}
	}
}

// endpoint is where others see a puncher behind a NAT that preserves ports.
func (p *puncher) endpoint() netip.AddrPort {
	return netip.AddrPortFrom(p.host.PublicAddr(), p.port.Number())
}

// party is the puncher as the server would state it, were there one.
func (p *puncher) party(id byte) proto.Party {
	local := netip.AddrPortFrom(p.host.Addr(), p.port.Number())
	party := proto.Party{ID: proto.ID{id}, Instance: proto.Token{id}, RTT: uint32(ladderRTT / time.Microsecond / 2),
		Observed: proto.NewCandidate(p.endpoint(), proto.Observed, 0), Candidates: []proto.Candidate{proto.NewCandidate(local, proto.Host, 0)}}
	switch p.port.Mode() {
	case reuse.DialOnly:
		party.PortMode = proto.PortDialOnly
	case reuse.Sequential:
		party.PortMode = proto.PortSequential
	}
	return party
}

// spoil has the first one's NAT see a SYN of its own side, and then let one of the
// other side in to a host where no socket is left that could answer.
func spoil(t *testing.T, lab *natlab.Lab, p [2]*puncher) {
	t.Helper()
	p[0].dialUntil(t, lab, p[1].endpoint(), 2, natlab.Sent)
	p[1].dialUntil(t, lab, p[0].endpoint(), 0, natlab.Delivered)
}

// dialUntil dials, and gives up when its SYN has been seen at A's site.
func (p *puncher) dialUntil(t *testing.T, lab *natlab.Lab, to netip.AddrPort, ttl int, event natlab.Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	defer lab.Tap(func(seen natlab.Packet) {
		if seen.Link == "A" && seen.Event == event && seen.Flags == natlab.SYN && seen.Src == p.endpoint() && seen.Dst == to {
			cancel()
		}
	})()
	err := p.do(func() error {
		_, err := p.port.BeginWith(to, reuse.DialOptions{TTL: ttl}).Wait(ctx)
		return err
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("the dial of %s has ended with %v", p.host.Name(), err)
	}
}
