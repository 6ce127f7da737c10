package natlab

import (
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"
)

func TestTranslator(t *testing.T) {
	for _, tt := range []struct {
		name   string
		nat    NAT
		script string
	}{
		{"one connection, closed from both ends", NAT{}, `
			out h:5000 s:80 S  -> out o:5000 s:80 S
			in s:80 o:5000 S.  -> in s:80 h:5000 S.
			out h:5000 s:80 .  -> out o:5000 s:80 .
			out h:5000 s:80 F. -> out o:5000 s:80 F.
			in s:80 o:5000 F.  -> in s:80 h:5000 F.
			out h:5000 s:80 .  -> out o:5000 s:80 .
			wait 121s          -> nothing
			in s:80 o:5000 .   -> nothing`},
		{"EIM preserving keeps the port, a collision gets another one for all destinations", NAT{}, `
			out h:5000 s:80 S -> out o:5000 s:80 S
			out h:5000 t:81 S -> out o:5000 t:81 S
			out i:5000 s:80 S -> out o:$i s:80 S
			out i:5000 t:80 S -> out o:$i t:80 S
			in t:80 o:$i S.   -> in t:80 i:5000 S.`},
		{"ADM", NAT{Mapping: ADM, Allocation: Allocation{Kind: Sequential}}, `
			out h:5000 s:80 S -> out o:$a s:80 S
			out h:5000 s:81 S -> out o:$a s:81 S
			out h:5000 t:80 S -> out o:$b t:80 S`},
		{"APDM keeps a mapping for a second connection", NAT{Mapping: APDM, Allocation: Allocation{Kind: Random}}, `
			out h:5000 s:80 S -> out o:$a s:80 S
			out h:5000 s:81 S -> out o:$b s:81 S
			out h:5000 s:80 R -> out o:$a s:80 R
			out h:5000 s:80 S -> out o:$a s:80 S`},
		{"per connection", NAT{Mapping: PerConnection, OnRST: Delete, Allocation: Allocation{Kind: Sequential}}, `
			out h:5000 s:80 S -> out o:$a s:80 S
			out h:5000 s:80 S -> out o:$a s:80 S
			in s:80 o:$a R    -> in s:80 h:5000 R
			out h:5000 s:80 S -> out o:$b s:80 S`},
		{"APDF", NAT{}, `
			out h:5000 s:80 S -> out o:5000 s:80 S
			in s:81 o:5000 S  -> nothing
			in t:80 o:5000 S  -> nothing
			in s:80 o:5000 S  -> in s:80 h:5000 S`},
		{"ADF", NAT{Filtering: ADF}, `
			out h:5000 s:80 S -> out o:5000 s:80 S
			in s:81 o:5000 S  -> in s:81 h:5000 S
			in t:80 o:5000 S  -> nothing`},
		{"EIF lets SYNs in, and nothing else that has no connection", NAT{Filtering: EIF}, `
			in t:80 o:5000 S   -> nothing
			out h:5000 s:80 S  -> out o:5000 s:80 S
			in t:80 o:5000 .   -> nothing
			in t:80 o:5000 S   -> in t:80 h:5000 S
			out h:5000 t:80 S. -> out o:5000 t:80 S.`},
		{"unsolicited: RST, but no RST to a RST", NAT{Unsolicited: Unsolicited{Answer: Reset}}, `
			in s:80 o:9 S      -> out o:9 s:80 R.
			in s:80 o:9 .      -> out o:9 s:80 R
			in s:80 o:9 R      -> nothing
			out h:5000 s:80 S  -> out o:5000 s:80 S
			in t:80 o:5000 S   -> out o:5000 t:80 R.`},
		{"unsolicited: RST, limited", NAT{Unsolicited: Unsolicited{Answer: Reset, Rate: 1, Burst: 2}}, `
			in s:80 o:9 S -> out o:9 s:80 R.
			in s:80 o:9 S -> out o:9 s:80 R.
			in s:80 o:9 S -> nothing
			wait 1s       -> nothing
			in s:80 o:9 S -> out o:9 s:80 R.
			in s:80 o:9 S -> nothing`},
		{"unsolicited: ICMP", NAT{Unsolicited: Unsolicited{Answer: Unreachable}}, `
			in s:80 o:9 S -> out o s icmp3 s:80 o:9`},
		{"unsolicited: ICMP after 6 s", NAT{Unsolicited: Unsolicited{Answer: Unreachable, After: 6 * time.Second}}, `
			in s:80 o:9 S     -> nothing
			wait 5s           -> nothing
			in t:80 o:5009 S  -> nothing
			in t:80 o:5010 S  -> nothing
			wait 1s           -> out o s icmp3 s:80 o:9
			out h:5009 t:80 S -> out o:5009 t:80 S
			wait 6s           -> out o t icmp3 t:80 o:5010`},
		{"simultaneous open accepted", NAT{}, `
			out h:5000 x:6000 S  -> out o:5000 x:6000 S
			in x:6000 o:5000 S   -> in x:6000 h:5000 S
			out h:5000 x:6000 S. -> out o:5000 x:6000 S.
			in x:6000 o:5000 S.  -> in x:6000 h:5000 S.
			out h:5000 x:6000 .  -> out o:5000 x:6000 .`},
		{"simultaneous open dropped", NAT{InboundAfterOutbound: DropInbound}, `
			out h:5000 x:6000 S -> out o:5000 x:6000 S
			in x:6000 o:5000 S  -> nothing
			in x:6000 o:5000 S. -> in x:6000 h:5000 S.`},
		{"simultaneous open refused", NAT{InboundAfterOutbound: ResetInbound}, `
			out h:5000 x:6000 S -> out o:5000 x:6000 S
			in x:6000 o:5000 S  -> out o:5000 x:6000 R.`},
		{"a RST in SYN_SENT leaves the mapping", NAT{OnRST: Keep}, `
			out h:5000 x:6000 S  -> out o:5000 x:6000 S
			in x:6000 o:5000 R.  -> in x:6000 h:5000 R.
			wait 100s            -> nothing
			in x:6000 o:5000 S   -> in x:6000 h:5000 S`},
		{"a RST in SYN_SENT ends the mapping", NAT{OnRST: Delete}, `
			out h:5000 x:6000 S  -> out o:5000 x:6000 S
			in x:6000 o:5000 R.  -> in x:6000 h:5000 R.
			in x:6000 o:5000 S   -> nothing
			out h:5000 x:6000 S  -> out o:5000 x:6000 S
			in x:6000 o:5000 S   -> in x:6000 h:5000 S`},
		{"a RST in SYN_SENT blocks the pair", NAT{OnRST: DeleteAndBlock, BlockFor: 5 * time.Second}, `
			out h:5000 x:6000 S  -> out o:5000 x:6000 S
			in x:6000 o:5000 R.  -> in x:6000 h:5000 R.
			out h:5000 x:6000 S  -> nothing
			out h:5000 x:6001 S  -> out o:5000 x:6001 S
			in x:6000 o:5000 S   -> nothing
			wait 5s              -> nothing
			out h:5000 x:6000 S  -> out o:5000 x:6000 S`},
		{"a RST of an established connection is passed on whatever the policy", NAT{OnRST: DeleteAndBlock, BlockFor: time.Hour}, `
			out h:5000 s:80 S  -> out o:5000 s:80 S
			in s:80 o:5000 S.  -> in s:80 h:5000 S.
			in s:80 o:5000 R   -> in s:80 h:5000 R
			out h:5000 s:80 S  -> out o:5000 s:80 S`},
		{"ICMP errors are translated inside, too", NAT{}, `
			out h:5000 s:80 S       -> out o:5000 s:80 S
			in x o icmp11 o:5000 s:80 -> in x h icmp11 h:5000 s:80
			in x o icmp3 o:5000 t:80 -> nothing
			in x o icmp3 o:5001 s:80 -> nothing
			in s:80 o:5000 S        -> in s:80 h:5000 S
			out h x icmp3 s:80 h:5000 -> out o x icmp3 s:80 o:5000`},
		{"an ICMP error ends the mapping", NAT{OnICMP: Delete}, `
			out h:5000 s:80 S       -> out o:5000 s:80 S
			in s o icmp3 o:5000 s:80 -> in s h icmp3 h:5000 s:80
			in s:80 o:5000 S        -> nothing`},
		{"echo", NAT{}, `
			out h s echo8 77 -> out o s echo8 77
			out i s echo8 77 -> out o s echo8 78
			in s o echo0 77  -> in s h echo0 77
			in s o echo0 78  -> in s i echo0 77
			in t o echo0 77  -> nothing
			in s o echo8 5   -> out o s echo0 5
			out h g echo8 5  -> in g h echo0 5
			wait 31s         -> nothing
			in s o echo0 77  -> nothing`},
		{"the LAN and the gateway", NAT{}, `
			out h:1 i:2 S   -> in h:1 i:2 S
			out h:1 g:80 S  -> in g:80 h:1 R.
			out s:1 t:2 S   -> nothing
			in s:1 t:2 S    -> nothing`},
		{"no hairpin", NAT{}, `
			out i:6000 s:80 S   -> out o:6000 s:80 S
			out h:5000 o:6000 S -> nothing`},
		{"hairpin answered with a RST", NAT{Hairpin: HairpinReset}, `
			out h:5000 o:6000 S -> in o:6000 h:5000 R.`},
		{"hairpin from the internal source", NAT{Hairpin: HairpinInternal}, `
			out i:6000 s:80 S   -> out o:6000 s:80 S
			out h:5000 o:6000 S -> in h:5000 i:6000 S
			out h:5000 o:6001 S -> nothing`},
		{"hairpin from the external source, open filter", NAT{Hairpin: HairpinExternal, Filtering: EIF}, `
			out i:6000 s:80 S    -> out o:6000 s:80 S
			out h:5000 o:6000 S  -> in o:5000 i:6000 S
			out i:6000 o:5000 S. -> in o:6000 h:5000 S.
			out h:5000 o:6000 .  -> in o:5000 i:6000 .`},
		{"hairpin by simultaneous open", NAT{Hairpin: HairpinExternal}, `
			out h:5000 o:6000 S -> nothing
			out i:6000 o:5000 S -> in o:6000 h:5000 S
			out h:5000 o:6000 S -> in o:5000 i:6000 S`},
		{"hairpin to a closed port is answered as from outside", NAT{Hairpin: HairpinExternal, Unsolicited: Unsolicited{Answer: Reset}}, `
			out h:5000 o:6000 S -> in o:6000 h:5000 R.`},
		{"SYN_SENT timer", NAT{SynSent: 5 * time.Second}, `
			out h:5000 s:80 S -> out o:5000 s:80 S
			wait 4s           -> nothing
			out h:5000 s:80 S -> out o:5000 s:80 S
			wait 5s           -> nothing
			in s:80 o:5000 S. -> in s:80 h:5000 S.
			wait 6s           -> nothing
			in s:80 o:5000 S. -> nothing`},
		{"idle timer, then a RST to the inside", NAT{Established: 350 * time.Second, ExpiredRST: true}, `
			out h:5000 s:80 S -> out o:5000 s:80 S
			in s:80 o:5000 S. -> in s:80 h:5000 S.
			out h:5000 s:80 . -> out o:5000 s:80 .
			wait 350s         -> nothing
			in s:80 o:5000 .  -> in s:80 h:5000 .
			wait 351s         -> nothing
			out h:5000 s:80 . -> in s:80 h:5000 R`},
		{"collision: random for each flow", NAT{Allocation: Allocation{Fallback: FallbackPerFlow}}, `
			out h:5000 s:80 S -> out o:5000 s:80 S
			out i:5000 s:80 S -> out o:$a s:80 S
			out i:5000 t:80 S -> out o:$b t:80 S
			out i:5000 s:80 S -> out o:$a s:80 S
			in t:80 o:$b S.   -> in t:80 i:5000 S.
			in t:80 o:$a S.   -> nothing
			out i:6000 s:80 S -> out o:6000 s:80 S
			out i:6000 t:80 S -> out o:6000 t:80 S`},
		{"collision: the next port", NAT{Allocation: Allocation{Fallback: FallbackSequential}}, `
			out h:5000 s:80 S -> out o:5000 s:80 S
			out i:5000 s:80 S -> out o:5001 s:80 S
			out i:5000 t:80 S -> out o:5001 t:80 S
			out h:65535 s:80 S -> out o:65535 s:80 S
			out i:65535 s:80 S -> out o:1024 s:80 S`},
		{"collision: nothing", NAT{Allocation: Allocation{Fallback: FallbackNone}}, `
			out h:5000 s:80 S -> out o:5000 s:80 S
			out i:5000 t:80 S -> nothing`},
		{"paired pooling: a host has one address", NAT{Addresses: 2}, `
			out h:5000 s:80 S -> out o:5000 s:80 S
			out i:5000 s:80 S -> out p:5000 s:80 S
			out h:5001 s:80 S -> out o:5001 s:80 S
			out i:5001 s:80 S -> out p:5001 s:80 S
			in s:80 p:5001 S. -> in s:80 i:5001 S.
			in s:80 q:5001 S. -> nothing`},
		{"hairpin between two addresses", NAT{Addresses: 2, Hairpin: HairpinExternal, Filtering: EIF}, `
			out h:5000 s:80 S   -> out o:5000 s:80 S
			out i:5000 s:80 S   -> out p:5000 s:80 S
			out h:5000 p:5000 S -> in o:5000 i:5000 S`},
		{"quota of sessions", NAT{Quota: Quota{Sessions: 2}, SynSent: 5 * time.Second}, `
			out h:5000 s:80 S -> out o:5000 s:80 S
			out h:5000 t:80 S -> out o:5000 t:80 S
			out h:5000 x:80 S -> nothing
			out i:5001 x:80 S -> out o:5001 x:80 S
			wait 6s           -> nothing
			out h:5000 x:80 S -> out o:5000 x:80 S`},
		{"quota of ports", NAT{Quota: Quota{Ports: 1}}, `
			out h:5000 s:80 S -> out o:5000 s:80 S
			out h:5000 t:80 S -> out o:5000 t:80 S
			out h:5001 s:80 S -> nothing
			out i:5001 s:80 S -> out o:5001 s:80 S`},
		{"rate of SYNs", NAT{Quota: Quota{SYNs: 1, Burst: 2}}, `
			out h:5000 s:80 S -> out o:5000 s:80 S
			out h:5001 s:80 S -> out o:5001 s:80 S
			out h:5002 s:80 S -> nothing
			out i:5003 s:80 S -> out o:5003 s:80 S
			wait 1s           -> nothing
			out h:5002 s:80 S -> out o:5002 s:80 S`},
		{"an isolated subscriber", NAT{Isolated: true}, `
			out h:1 i:2 S   -> nothing
			out h:1 g:80 S  -> in g:80 h:1 R.`},
		{"strict: a connection", NAT{Tracking: Strict}, `
			out h:5000 s:80 S 1000       -> out o:5000 s:80 S 1000
			in s:80 o:5000 S. 7000 1001  -> in s:80 h:5000 S. 7000 1001
			out h:5000 s:80 . 1001 7001  -> out o:5000 s:80 . 1001 7001
			in s:80 o:5000 . 7001 1001   -> in s:80 h:5000 . 7001 1001
			in s:80 o:5000 . 99007001 1001 -> nothing
			in s:80 o:5000 R 99007001 0  -> nothing
			out h:5000 s:80 . 1001 99007001 -> nothing
			in s:80 o:5000 R 7001 0      -> in s:80 h:5000 R 7001`},
		{"strict: simultaneous open", NAT{Tracking: Strict}, `
			out h:5000 x:80 S 1000       -> out o:5000 x:80 S 1000
			in x:80 o:5000 S 7000        -> in x:80 h:5000 S 7000
			out h:5000 x:80 S. 1000 7001 -> out o:5000 x:80 S. 1000 7001
			in x:80 o:5000 S. 7000 1001  -> in x:80 h:5000 S. 7000 1001`},
		{"strict: nobody but the dial answers the SYN that it let in", NAT{Tracking: Strict}, `
			out h:5000 x:80 S 1000         -> out o:5000 x:80 S 1000
			in x:80 o:5000 S 7000          -> in x:80 h:5000 S 7000
			out h:5000 x:80 S. 990000 7001 -> nothing`},
		{"liberal: a listener does", NAT{}, `
			out h:5000 x:80 S 1000         -> out o:5000 x:80 S 1000
			in x:80 o:5000 S 7000          -> in x:80 h:5000 S 7000
			out h:5000 x:80 S. 990000 7001 -> out o:5000 x:80 S. 990000 7001`},
		{"strict: a redial is believed, the RST of another dial is not", NAT{Tracking: Strict, OnRST: Delete}, `
			out h:5000 x:80 S 1000      -> out o:5000 x:80 S 1000
			in x:80 o:5000 R. 0 900000  -> nothing
			out h:5000 x:80 S 9000      -> out o:5000 x:80 S 9000
			in x:80 o:5000 S 7000       -> in x:80 h:5000 S 7000
			out h:5000 x:80 S. 9000 7001 -> out o:5000 x:80 S. 9000 7001`},
		{"strict: the RST of a closed port", NAT{Tracking: Strict, OnRST: Delete}, `
			out h:5000 x:80 S 1000      -> out o:5000 x:80 S 1000
			in x:80 o:5000 R. 0 1001    -> in x:80 h:5000 R. 0 1001
			in x:80 o:5000 S 7000       -> nothing`},
		{"sequence numbers of its own", NAT{Tracking: RewriteISN}, `
			out h:5000 s:80 S 1000         -> out o:5000 s:80 S 1000+d
			in s:80 o:5000 S. 7000 1001+d  -> in s:80 h:5000 S. 7000 1001
			out h:5000 s:80 . 1001 7001    -> out o:5000 s:80 . 1001+d 7001
			in s o icmp3 o:5000 s:80 7+d   -> in s h icmp3 h:5000 s:80 7`},
		{"hops", NAT{}, `
			out h:5000 s:80 S ttl1 -> in g h icmp11 h:5000 s:80
			out h:5000 s:80 S ttl2 -> out o:5000 s:80 S
			in s:80 o:5000 S. ttl1 -> out o s icmp11 s:80 o:5000`},
	} {
		t.Run(tt.name, func(t *testing.T) { runTranscript(t, tt.nat, tt.script) })
	}
}

// TestArbitraryPooling guards the mapping of an endpoint, which is one for all destinations, while those of others are on any
// address.
func TestArbitraryPooling(t *testing.T) {
	nat := newTestTranslator(NAT{Addresses: 3, Pooling: Arbitrary})
	seen := map[netip.Addr]int{}
	for port := range uint16(60) {
		var outside netip.AddrPort
		for _, to := range []string{"203.0.113.10:80", "203.0.113.20:80"} {
			syn := newTCP(netip.AddrPortFrom(scriptNames["h"], 5000+port), netip.MustParseAddrPort(to), SYN, 1, 0)
			p, _ := parse(nat.fromInside(time.Unix(1, 0), syn, nil)[0].f)
			if outside.IsValid() && p.src != outside {
				t.Errorf("port %d is %v and %v", 5000+port, outside, p.src)
			}
			outside = p.src
		}
		seen[outside.Addr()]++
	}
	if len(seen) != 3 || slices.Min(slices.Collect(maps.Values(seen))) < 5 {
		t.Errorf("60 mappings are on %v", seen)
	}
}
