package natlab

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/netip"
	"time"
)

// Config describes a lab. The zero value is three public hosts without delay.
type Config struct {
	// A and B are the NATs in front of the two hosts. A profile that is shared must be both.
	A, B Profile
	// Carrier is a NAT, or several in a row, that both hosts are behind besides their own ones, and by which alone they can
	// reach each other; the zero value is none. RTT/2 is then the round trip from each to the server.
	Carrier Profile
	// RTT is the round trip between host A and host B. The server sits in the middle: its round trip to each is RTT/2.
	RTT time.Duration
	// Jitter delays each packet between A and B by up to that much more, uniformly, half of it on each of the two links.
	// Packets that go the same way stay in order.
	Jitter time.Duration
	// Loss is the probability that a packet between A and B is lost, one way. Links with loss carry no super-packets, so it
	// is the probability for a segment.
	Loss float64
	// Rate is what host A and host B can each send, in bits of IP packets per second, so it is the bandwidth of the path between
	// them each way, also of one by way of the server; 0 is unlimited. What the server sends by itself is not limited,
	// nor is a LAN that both share. Links with a rate carry no super-packets, so that every segment takes its own time.
	Rate int64
	// Queue is how many bytes may wait at either end of a path that has a rate; packets beyond are dropped (drop-tail). 0 is
	// one bandwidth-delay product, Rate × RTT, and at least 64 full packets: the rule by which routers' buffers are sized, it
	// lets one TCP connection fill the path and doubles the RTT under load. A packet that finds the line free always passes.
	Queue int
	// Seed makes loss, jitter and random ports of userspace NATs repeat, as far as the order of packets does.
	Seed uint64
	// SameNAT puts both hosts on one LAN behind the NAT A; B is ignored. RTT/2 is then the round trip from each to the server.
	SameNAT bool
	// IPv6 gives all hosts a global IPv6 address besides (dual stack). It is not translated: A and B have a stateful firewall in
	// front of it, which lets nothing in but what belongs to something that went out, drops the rest, and is no part of their
	// profiles. Only the public ones have none.
	IPv6 bool
	// QuietHops makes the fabric drop packets whose TTL ends there, without an ICMP time exceeded. The way from a host goes
	// through its NAT (hop 1), the fabric (2) and the other NAT (3).
	QuietHops bool
}

func (c *Config) check() error {
	switch {
	case c.RTT < 0 || c.Jitter < 0:
		return fmt.Errorf("natlab: RTT %v or jitter %v is negative", c.RTT, c.Jitter)
	case !(c.Loss >= 0 && c.Loss < 1):
		return fmt.Errorf("natlab: loss %v is not in [0, 1)", c.Loss)
	case c.Rate < 0 || c.Queue < 0:
		return fmt.Errorf("natlab: rate %d or queue %d is negative", c.Rate, c.Queue)
	case c.Queue > 0 && c.Rate == 0:
		return errors.New("natlab: a path without a rate has no queue")
	case c.SameNAT && len(c.A.chain())+len(c.Carrier.chain()) == 0:
		return errors.New("natlab: two hosts can't share a NAT that is none")
	}
	return nil
}

// resolve replaces a shared profile by what is shared.
func (c Config) resolve() (Config, error) {
	if c.A.Shared == NotShared && c.B.Shared == NotShared {
		return c, c.check()
	}
	if c.A.Name != c.B.Name || c.A.Shared != c.B.Shared || c.SameNAT || c.Carrier.translates() {
		return c, fmt.Errorf("natlab: a profile of both hosts, such as %q, pairs with itself only", cmp.Or(shared(c.A), shared(c.B)))
	}
	if c.A.Shared == SharedLAN {
		c.SameNAT = true
	} else {
		c.Carrier, c.A, c.B = c.A.outermost(), c.A.inner(), c.B.inner()
	}
	c.A.Shared, c.B.Shared = NotShared, NotShared
	return c, c.check()
}

// shared is the name of a profile that is.
func shared(p Profile) string {
	if p.Shared == NotShared {
		return ""
	}
	return p.Name
}

// linkLoss is the loss of one link such that two in a row lose what Config says.
func (c *Config) linkLoss() float64 { return 1 - math.Sqrt(1-c.Loss) }

// leastQueue is 64 packets of the devices' MTU.
const leastQueue = 64 * 1500

// queue is the size of the queues, its default resolved.
func (c *Config) queue() int {
	if c.Queue > 0 {
		return c.Queue
	}
	return max(leastQueue, int(float64(c.Rate)/8*c.RTT.Seconds()))
}

// The addresses: a documentation network (RFC 5737) for each site, private ones behind the NATs.
var (
	siteA      = addresses{outside: addr("198.51.100.1"), hop: addr("198.51.100.254"), lan: prefix("192.168.1.1/24"), net6: prefix("2001:db8:a::/64")}
	siteB      = addresses{outside: addr("192.0.2.1"), hop: addr("192.0.2.254"), lan: prefix("10.0.2.1/24"), net6: prefix("2001:db8:b::/64")}
	siteServer = addresses{outside: addr("203.0.113.10"), alternate: addr("203.0.113.20"), hop: addr("203.0.113.254"), net6: prefix("2001:db8:c::/64")}
)

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// addresses of a site.
type addresses struct {
	outside   netip.Addr   // of the NAT, or of the host without one
	alternate netip.Addr   // a second one, or none
	hop       netip.Addr   // the router on the Internet's side
	lan       netip.Prefix // the innermost NAT's inside address and the network's length
	net6      netip.Prefix // the network of the hosts' IPv6 addresses
}

// public lists the alternate address, too, or as many following the first as there are n.
func (a *addresses) public(n int) []netip.Addr {
	if a.alternate.IsValid() {
		return []netip.Addr{a.outside, a.alternate}
	}
	list := []netip.Addr{a.outside}
	for range n - 1 {
		list = append(list, list[len(list)-1].Next())
	}
	return list
}

// firstInside is the last byte of the first address that a NAT gives away.
const firstInside = 10

// nth is the i-th address that a NAT gives away on its inside.
func nth(lan netip.Prefix, i int) netip.Addr {
	b := lan.Addr().As4()
	b[3] = firstInside + byte(i)
	return netip.AddrFrom4(b)
}

// The last bytes of IPv6 addresses.
const (
	gateway6   = 1
	host6      = 0x10 // the first one; also an alternate address, 0x10 later
	internet6  = 0xfe // the router on the Internet's side
	alternate6 = 0x10
)

// in6 is an address of a network by its last byte.
func in6(net netip.Prefix, last int) netip.Addr {
	b := net.Addr().As16()
	b[15] = byte(last)
	return netip.AddrFrom16(b)
}

// transit is the network between two NATs, of which level is the outer one's place in its row: the shared address space
// (RFC 6598) next to the last NAT before the Internet, private addresses elsewhere.
func transit(branch, level int, last bool) netip.Prefix {
	network := [4]byte{100, 64, byte(branch), 1}
	if !last {
		network = [4]byte{172, 16 + byte(branch), byte(level), 1}
	}
	return netip.PrefixFrom(netip.AddrFrom4(network), 24)
}
