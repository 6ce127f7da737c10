package punch

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"os"
	"strings"
)

// gateways reads the next hops of every route from the kernel's tables in
// /proc/net: a program without rights may.
func gateways() []netip.Addr {
	list := routers4(readTable("/proc/net/route"))
	return append(list, routers6(readTable("/proc/net/ipv6_route"))...)
}

func readTable(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return "" // no such address family in this kernel
	}
	return string(b)
}

// routers4 reads /proc/net/route: the third column is the gateway, as a
// hexadecimal number in the machine's byte order.
func routers4(table string) (list []netip.Addr) {
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 3 {
			continue
		}
		raw, err := hex.DecodeString(f[2])
		if err != nil || len(raw) != 4 {
			continue // the heading
		}
		var b [4]byte
		binary.NativeEndian.PutUint32(b[:], binary.BigEndian.Uint32(raw))
		if addr := netip.AddrFrom4(b); !addr.IsUnspecified() {
			list = append(list, addr)
		}
	}
	return list
}

// routers6 reads /proc/net/ipv6_route: the fifth column is the next hop.
func routers6(table string) (list []netip.Addr) {
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		raw, err := hex.DecodeString(f[4])
		if err != nil || len(raw) != 16 {
			continue
		}
		if addr := netip.AddrFrom16([16]byte(raw)); !addr.IsUnspecified() {
			list = append(list, addr)
		}
	}
	return list
}
