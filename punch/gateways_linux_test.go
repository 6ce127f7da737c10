package punch

import (
	"net/netip"
	"slices"
	"testing"
)

func TestRoutingTables(t *testing.T) {
	const route4 = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	0101A8C0	0003	0	0	0	00000000	0	0	0
eth0	0001A8C0	00000000	0001	0	0	0	00FFFFFF	0	0	0
`
	const route6 = `20010db8000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001     eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 fe800000000000000000000000000001 00000400 00000001 00000000 00000003     eth0
`
	if got, want := routers4(route4), netip.MustParseAddr("192.168.1.1"); !slices.Equal(got, []netip.Addr{want}) {
		t.Errorf("IPv4 gateways %v, want %v", got, want)
	}
	if got, want := routers6(route6), netip.MustParseAddr("fe80::1"); !slices.Equal(got, []netip.Addr{want}) {
		t.Errorf("IPv6 gateways %v, want %v", got, want)
	}
	for _, garbage := range []string{"", "\n", "a b", "eth0 00000000 zz", "x 1 2 3 4 5"} {
		if got := append(routers4(garbage), routers6(garbage)...); len(got) != 0 {
			t.Errorf("table %q: %v", garbage, got)
		}
	}
}
