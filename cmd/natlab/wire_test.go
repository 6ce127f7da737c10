package main

import (
	"net/netip"
	"testing"
	"time"

	"github.com/peerd/peerd/punch/natlab"
)

var (
	outsideA = netip.MustParseAddrPort("198.51.100.1:1000")
	outsideB = netip.MustParseAddrPort("192.0.2.1:2000")
	epoch    = time.Unix(1e9, 0)
)

// at makes a packet from A to B that is seen at ms milliseconds.
func at(ms int, link string, e natlab.Event, flags natlab.TCPFlags, seq, ack uint32) natlab.Packet {
	return natlab.Packet{
		Time: epoch.Add(time.Duration(ms) * time.Millisecond), Link: link, Event: e, Proto: 6,
		Src: outsideA, Dst: outsideB, TTL: 62, Flags: flags, Seq: seq, Ack: ack,
	}
}

// back is at from B to A.
func back(ms int, link string, e natlab.Event, flags natlab.TCPFlags, seq, ack uint32) natlab.Packet {
	p := at(ms, link, e, flags, seq, ack)
	p.Src, p.Dst = p.Dst, p.Src
	return p
}

func unreachable(ms int) natlab.Packet {
	p := back(ms, "B", natlab.Sent, 0, 0, 0)
	p.Proto, p.Type = protocolICMP, icmpUnreachable
	p.Src, p.Dst = netip.AddrPortFrom(p.Src.Addr(), 0), netip.AddrPortFrom(p.Dst.Addr(), 0)
	return p
}

func outOfHops(p natlab.Packet) natlab.Packet {
	p.TTL = 1
	return p
}

const synAck, rstAck = natlab.SYN | natlab.ACK, natlab.RST | natlab.ACK

func TestFates(t *testing.T) {
	sent := at(0, "A", natlab.Sent, natlab.SYN, 7, 0)
	arrived := at(20, "B", natlab.Delivered, natlab.SYN, 7, 0)
	entered := at(20, "", natlab.Delivered, natlab.SYN, 7, 0)
	for _, c := range []struct {
		name    string
		outside []natlab.Packet
		inside  []natlab.Packet // at B
		want    fate
	}{
		{"lost", []natlab.Packet{sent, at(20, "B", natlab.Dropped, natlab.SYN, 7, 0)}, nil, lost},
		{"out of hops", []natlab.Packet{sent, outOfHops(at(0, "A", natlab.Dropped, natlab.SYN, 7, 0))}, nil, shortened},
		{"under way", []natlab.Packet{sent}, nil, lost},
		{"dropped", []natlab.Packet{sent, arrived}, nil, dropped},
		{"refused", []natlab.Packet{sent, arrived, back(20, "B", natlab.Sent, rstAck, 0, 8)}, nil, natReset},
		{"unreachable", []natlab.Packet{sent, arrived, unreachable(21)}, nil, natICMP},
		{"answer to another SYN", []natlab.Packet{sent, arrived, back(20, "B", natlab.Sent, rstAck, 0, 9)}, nil, dropped},
		{"too late for an answer", []natlab.Packet{sent, arrived, unreachable(400)}, nil, dropped},
		{"host refuses", []natlab.Packet{sent, arrived, back(20, "B", natlab.Sent, rstAck, 0, 8)}, []natlab.Packet{entered}, hostReset},
		{"no answer", []natlab.Packet{sent, arrived}, []natlab.Packet{entered}, reached},
		{"listener", []natlab.Packet{sent, arrived, back(20, "B", natlab.Sent, synAck, 50, 8)}, []natlab.Packet{entered}, listener},
		{"crossed", []natlab.Packet{
			sent, back(10, "B", natlab.Sent, natlab.SYN, 60, 0), arrived, back(20, "B", natlab.Sent, synAck, 60, 8),
		}, []natlab.Packet{entered}, crossed},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := fates(c.outside, map[string][]natlab.Packet{"B": c.inside})
			if len(got) == 0 || got[0].Met != c.want {
				t.Errorf("%+v, want %d", got, c.want)
			}
		})
	}
}

func TestFatesOfRetransmissions(t *testing.T) {
	got := fates([]natlab.Packet{
		at(0, "A", natlab.Sent, natlab.SYN, 7, 0),
		at(20, "B", natlab.Dropped, natlab.SYN, 7, 0),
		at(1000, "A", natlab.Sent, natlab.SYN, 7, 0),
		at(1020, "B", natlab.Delivered, natlab.SYN, 7, 0),
		at(1100, "A", natlab.Sent, natlab.SYN, 9, 0),
	}, nil)
	if len(got) != 3 || got[0].Again || !got[1].Again || got[2].Again {
		t.Fatalf("%+v", got)
	}
	if got[0].Number != 1 || got[1].Number != 1 || got[2].Number != 2 {
		t.Errorf("numbers %d %d %d", got[0].Number, got[1].Number, got[2].Number)
	}
	if !got[0].Arrived.IsZero() || !got[1].Arrived.Equal(epoch.Add(1020*time.Millisecond)) {
		t.Errorf("arrived %v and %v", got[0].Arrived, got[1].Arrived)
	}
}

func TestAbridge(t *testing.T) {
	syns := make([]syn, 100)
	for i := range syns {
		syns[i].Number = i + 1
	}
	got := abridge(syns)
	if len(got) != 2*shown+1 || got[shown].seq != 100-2*shown || got[len(got)-1].Number != 100 {
		t.Errorf("%+v", got)
	}
	if got := abridge(syns[:2*shown+1]); len(got) != 2*shown+1 || got[shown].Number == 0 {
		t.Error("one SYN is left out to save no line")
	}
}
