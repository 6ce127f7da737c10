//go:build linux

package main

import (
	"flag"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch"
	"github.com/peerd/peerd/punch/natlab"
)

var ladderRuns = flag.Int("ladder-runs", 1, "how often each pair of NATs climbs the ladder")

const ladderRTT = 40 * time.Millisecond

// rung is a pair of NATs that plain dials do not get through, with what both
// sides know of theirs.
type rung struct {
	a, b natlab.Profile
	told [2]proto.NATReport // without samples
}

func labProfile(t *testing.T, name string) natlab.Profile {
	p, err := natlab.ProfileByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func rungs(t *testing.T) map[string]rung {
	still := func(unsolicited proto.NATAnswer) proto.NATReport {
		return proto.NATReport{Mapping: proto.MappingEndpointIndependent, Allocation: proto.AllocationPreserving,
			Filtering: proto.FilteringAddressPortDependent, Unsolicited: unsolicited, Crossing: proto.AnswerAccepted, OnReset: proto.PolicyDelete}
	}
	changing := func(edit func(*proto.NATReport)) proto.NATReport {
		r := still(proto.AnswerDropped)
		r.Mapping, r.OnReset = proto.MappingAddressPortDependent, proto.PolicyKeep
		edit(&r)
		return r
	}
	sequential := changing(func(r *proto.NATReport) { r.Allocation, r.Delta = proto.AllocationSequential, 1 })
	busy := sequential
	busy.Background = 50_000
	random := changing(func(r *proto.NATReport) { r.Allocation = proto.AllocationRandom })
	block := changing(func(r *proto.NATReport) { r.Allocation = proto.AllocationBlock })
	seq, rnd, drop, open := labProfile(t, "user-sym-seq"), labProfile(t, "user-sym-random"), labProfile(t, "linux-drop"), labProfile(t, "linux-open")
	busySeq := natlab.Custom("busy", natlab.NAT{Mapping: natlab.APDM, Allocation: natlab.Allocation{Kind: natlab.Sequential, Background: 50}})
	inBlock := natlab.Custom("block", natlab.NAT{Mapping: natlab.APDM, Allocation: natlab.Allocation{Kind: natlab.Block, Size: 2048}})
	kill := natlab.Custom("rst-kill", natlab.NAT{Unsolicited: natlab.Unsolicited{Answer: natlab.Reset}, OnRST: natlab.DeleteAndBlock, BlockFor: 30 * time.Second})
	strict := natlab.Custom("strict", natlab.NAT{Unsolicited: natlab.Unsolicited{Answer: natlab.Reset}, InboundAfterOutbound: natlab.ResetInbound})
	killed, refusing := still(proto.AnswerReset), still(proto.AnswerReset)
	killed.OnReset, refusing.Crossing = proto.PolicyBlock, proto.AnswerReset
	proxied := random
	proxied.Proxied = proto.TruthYes
	silent, reset := still(proto.AnswerDropped), still(proto.AnswerReset)
	return map[string]rung{
		"sequential, linux-drop":      {seq, drop, [2]proto.NATReport{sequential, silent}},
		"sequential, linux-open":      {seq, open, [2]proto.NATReport{sequential, reset}},
		"busy sequential, linux-open": {busySeq, open, [2]proto.NATReport{busy, reset}},
		"sequential, sequential":      {seq, seq, [2]proto.NATReport{sequential, sequential}},
		"random, linux-drop":          {rnd, drop, [2]proto.NATReport{random, silent}},
		"linux-open, random":          {open, rnd, [2]proto.NATReport{reset, random}},
		"rst-kill, rst-kill":          {kill, kill, [2]proto.NATReport{killed, killed}},
		"strict, linux-open":          {strict, open, [2]proto.NATReport{refusing, reset}},
		"linux-open, proxy":           {open, labProfile(t, "proxy"), [2]proto.NATReport{reset, proxied}},
		"block, linux-drop":           {inBlock, drop, [2]proto.NATReport{block, silent}},
	}
}

// The ladder's rungs through the lab's NATs, with the caps counted on the wire.
func TestLadderThroughTheLab(t *testing.T) {
	natlab.Require(t)
	for name, r := range rungs(t) {
		t.Run(name, func(t *testing.T) {
			for n := range *ladderRuns {
				r.climb(t, uint64(n)+1)
			}
		})
	}
}

func (r rung) climb(t *testing.T, seed uint64) {
	t.Helper()
	lab, err := natlab.New(natlab.Config{A: r.a, B: r.b, RTT: ladderRTT, Seed: seed})
	if err != nil {
		t.Fatal(err)
	}
	defer lab.Close()
	wire := watchSYNs(lab)
	punchers := [2]*puncher{newPuncher(t, lab.A, 40100), newPuncher(t, lab.B, 40200)}
	transcript := &proto.Transcript{Introduction: proto.NewToken(), PlanVersion: 4}
	for i, p := range punchers {
		*transcript.Party(proto.Role(i + 1)) = r.party(t, lab, p, i)
	}
	began := time.Now()
	runs := [2]*punch.Run{punchers[0].start(t, transcript, proto.Initiator), punchers[1].start(t, transcript, proto.Responder)}
	heard := make(chan error)
	for _, run := range runs {
		go func() { heard <- hear(run) }()
	}
	for range runs {
		if err := <-heard; err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
	}
	t.Logf("seed %d: after %v, %d and %d SYNs", seed, time.Since(began).Round(100*time.Microsecond), runs[0].SYNs(), runs[1].SYNs())
	for _, run := range runs {
		run.Stop()
	}
	wire.check(t)
}

// hear waits for a connection of a run that both ends have proven.
func hear(run *punch.Run) error {
	proven := make(chan struct{}, 64)
	talk := func(c *punch.Conn) {
		if _, err := c.Write([]byte{'x'}); err != nil {
			return
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err == nil {
			proven <- struct{}{}
		}
	}
	for {
		select {
		case c := <-run.Conns():
			defer c.Close()
			go talk(c)
		case <-proven:
			return nil
		case <-run.Expired():
			return run.Err()
		}
	}
}

// party is a side as the server would state it: registered, with samples that
// are as fresh as they can be.
func (r rung) party(t *testing.T, lab *natlab.Lab, p *puncher, side int) proto.Party {
	t.Helper()
	observed := seenBy(t, lab, "4000", func(to netip.AddrPort) error {
		_, err := p.port.Dial(t.Context(), to)
		return err
	}, p.host)
	nat := r.told[side]
	if nat.Mapping != proto.MappingEndpointIndependent {
		for _, at := range []string{"4001", "4002", "4003"} {
			sample := seenBy(t, lab, at, func(to netip.AddrPort) error {
				c, err := p.host.Dial(t.Context(), to.String())
				if err == nil {
					t.Cleanup(func() { c.Close() })
				}
				return err
			}, nil)
			nat.Samples = append(nat.Samples, sample.Port())
		}
	}
	if nat.Background > 0 {
		nat.Age = 20_000 // what it took to make the other side's
	}
	id := byte(side + 1)
	return proto.Party{ID: proto.ID{id}, Instance: proto.Token{id}, RTT: uint32(ladderRTT / time.Microsecond / 2),
		Observed: proto.NewCandidate(observed, proto.Observed, 0), NAT: &nat}
}

// seenBy is the endpoint that the lab's server sees somebody come from.
func seenBy(t *testing.T, lab *natlab.Lab, port string, dial func(netip.AddrPort) error, within *natlab.Host) netip.AddrPort {
	t.Helper()
	l, err := lab.Server.Listen(lab.Server.Addr().String() + ":" + port)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	to := netip.MustParseAddrPort(l.Addr().String())
	connect := func() error { return dial(to) }
	if within != nil {
		err = within.Do(connect)
	} else {
		err = connect()
	}
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return netip.MustParseAddrPort(c.RemoteAddr().String())
}
