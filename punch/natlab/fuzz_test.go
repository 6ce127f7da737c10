package natlab

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"
)

// FuzzTranslator sends arbitrary bytes and repaired packets through a NAT. Nothing may panic, and what had right checksums
// before has them afterwards.
func FuzzTranslator(f *testing.F) {
	tcp := newTCP(netip.MustParseAddrPort("192.168.1.10:5000"), netip.MustParseAddrPort("203.0.113.10:80"), SYN, 1, 0)
	f.Add([]byte(tcp), uint32(0), true)
	in := newTCP(netip.MustParseAddrPort("203.0.113.10:80"), netip.MustParseAddrPort("198.51.100.1:5000"), SYN|ACK, 1, 2)
	f.Add([]byte(in), uint32(0x1234), false)
	p, _ := parse(newTCP(netip.MustParseAddrPort("198.51.100.1:5000"), netip.MustParseAddrPort("203.0.113.10:80"), SYN, 1, 0))
	f.Add([]byte(icmpError(&p, addr("203.0.113.10"), icmpUnreachable, codePort)), uint32(0), false)
	echo, _ := newIPv4(addr("192.168.1.10"), addr("192.168.1.1"), protoICMP, 8)
	echo[vnetLen+20] = icmpEcho
	f.Add([]byte(echo), uint32(0xffff), true)
	p.src, p.v6 = netip.MustParseAddrPort("[2001:db8:a::10]:5000"), true
	f.Add([]byte(expired6(&p, netip.MustParseAddr("2001:db8:a::fe"))), uint32(0), true)
	f.Fuzz(func(t *testing.T, data []byte, axes uint32, inside bool) {
		nat := newTestTranslator(fuzzedNAT(axes))
		now := time.Unix(1, 0)
		// A connection of which the fuzzed packet may be a part.
		nat.fromInside(now, append(frame{}, tcp...), nil)
		send := nat.fromOutside
		if inside {
			send = nat.fromInside
		}
		send(now, append(frame{}, data...), nil)
		whole := repair(append(frame{}, data...))
		if whole == nil {
			return
		}
		for _, e := range send(now, whole, nil) {
			if _, ok := parse(e.f); !ok {
				t.Fatalf("malformed result %x of %x", e.f, data)
			}
			if err := verify(e.f); err != nil {
				t.Errorf("%v, from %x", err, data)
			}
		}
	})
}

// fuzzedNAT takes two bits for each axis.
func fuzzedNAT(axes uint32) NAT {
	bits := func(i int) uint8 { return uint8(axes >> (2 * i) & 3) }
	return NAT{
		Mapping:              Mapping(bits(0)),
		Allocation:           Allocation{Kind: AllocationKind(bits(1)), Fallback: Fallback(bits(15)), Parity: bits(12)/2 == 1},
		Filtering:            Filtering(bits(2) % 3),
		Unsolicited:          Unsolicited{Answer: Answer(bits(3) % 3), After: time.Duration(bits(4) % 2)},
		InboundAfterOutbound: InboundSYN(bits(5) % 3),
		OnRST:                ErrorPolicy(bits(6) % 3),
		OnICMP:               ErrorPolicy(bits(7) % 3),
		Hairpin:              Hairpin(bits(8)),
		ExpiredRST:           bits(9)%2 == 1,
		Tracking:             Tracking(bits(10) % 3),
		Addresses:            int(bits(11)),
		Pooling:              Pooling(bits(11) % 2),
		Isolated:             bits(12)%2 == 1,
		Quota:                Quota{Sessions: int(bits(13)), SYNs: float64(bits(14)), Burst: 9},
	}
}

// repair gives a parsable frame right checksums, or returns nil.
func repair(f frame) frame {
	p, ok := parse(f)
	if !ok {
		return nil
	}
	ihl := len(p.ip) - len(p.l4)
	binary.BigEndian.PutUint16(p.ip[10:], 0)
	binary.BigEndian.PutUint16(p.ip[10:], ^onesSum(p.ip[:ihl]))
	at, pseudo := 2, []byte(nil)
	if p.proto == protoTCP {
		at = 16
		pseudo = append(append(pseudo, p.ip[12:20]...), 0, protoTCP, byte(len(p.l4)>>8), byte(len(p.l4)))
	}
	binary.BigEndian.PutUint16(p.l4[at:], 0)
	if p.partial && p.proto == protoTCP {
		binary.BigEndian.PutUint16(p.l4[at:], onesSum(pseudo))
	} else {
		binary.BigEndian.PutUint16(p.l4[at:], ^onesSum(append(pseudo, p.l4...)))
	}
	return p.frame
}
