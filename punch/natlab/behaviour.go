package natlab

import "fmt"

// Behaviour is what [Probe] measures of a NAT, or of several in a row as one. Values are comparable.
type Behaviour struct {
	// NATs is how many hops a packet passes before the Internet's first router: a NAT is one.
	NATs int
	// Terminated says that connections are completed on the way, whoever is dialled. OnRST, OnICMP, Poisoned, Tracking, Hairpin,
	// ExpiredRST, ShortSYN and Bounded are not measured then.
	Terminated bool
	// Translated tells a NAT from a public host. Without a NAT, Mapping and Allocation are zero.
	Translated bool
	Mapping    Mapping
	Allocation AllocationKind
	Filtering  Filtering
	// Unsolicited is the answer to a SYN to a port without a mapping. Limited says that a burst of them is answered in part.
	Unsolicited Answer
	Limited     bool
	// InboundAfterOutbound is the answer to a SYN from an endpoint to which the host has sent a SYN and which is silent.
	InboundAfterOutbound Answer
	// Hairpin is the answer to a SYN that the host sends to the outside endpoint of another socket of its own, which sends one
	// the other way at the same time.
	Hairpin Answer

	// Parity says that outside ports are as even or odd as inside ones, where Allocation is not Preserving.
	Parity bool
	// Background says that others take ports from a Sequential allocation.
	Background bool
	// Pooling is Arbitrary if one host is seen at several addresses.
	Pooling Pooling
	// OnRST is what a RST from outside does to a mapping whose SYN is unanswered, OnICMP what an ICMP time exceeded does, which
	// is not told Delete from DeleteAndBlock. Neither is measured unless crossing SYNs are accepted.
	OnRST, OnICMP ErrorPolicy
	// Poisoned says that a SYN which comes before the host's own takes the outside port from it, where Mapping is EIM.
	Poisoned bool
	// Tracking is what becomes of sequence numbers. Strict is not told from Liberal unless crossing SYNs are accepted either.
	Tracking Tracking
	// ExpiredRST says that the NAT answers the host's segments of connections that it does not know with a RST.
	ExpiredRST bool

	// What follows takes seconds: [ProbeSlowly] measures it, and whether an answer of Unsolicited is Late.

	// Late says that the answer to unsolicited SYNs takes seconds.
	Late bool
	// ShortSYN says that an unanswered SYN is forgotten within 7 s.
	ShortSYN bool
	// Bounded says that of 600 SYNs at once, each from a port of its own, some do not leave.
	Bounded bool
}

func (b Behaviour) String() string {
	nat := "no NAT"
	if b.Translated {
		nat = fmt.Sprintf("%v %v", b.Mapping, b.Allocation)
	}
	limited := ""
	if b.Limited {
		limited = " limited"
	}
	s := fmt.Sprintf("%s, %v, unsolicited %v%s, inbound after outbound %v, hairpin %v, %v NATs, %v, %v, on RST %v, on ICMP %v",
		nat, b.Filtering, b.Unsolicited, limited, b.InboundAfterOutbound, b.Hairpin, b.NATs, b.Pooling, b.Tracking, b.OnRST, b.OnICMP)
	for _, flag := range []struct {
		is   bool
		text string
	}{{b.Terminated, "terminated"}, {b.Parity, "parity"}, {b.Background, "background"}, {b.Poisoned, "poisoned"},
		{b.ExpiredRST, "RST when expired"}, {b.Late, "late answer"}, {b.ShortSYN, "short SYN timer"}, {b.Bounded, "bounded"}} {
		if flag.is {
			s += ", " + flag.text
		}
	}
	return s
}

// kindOf infers the allocation from inside ports and the outside ports that they were given one after the other.
// Background says that a sequence has gaps.
func kindOf(inside, outside []uint16) (kind AllocationKind, background bool) {
	preserved, steady, rising, falling := true, true, true, true
	low, high := outside[0], outside[0]
	for i, p := range outside {
		preserved = preserved && p == inside[i]
		low, high = min(low, p), max(high, p)
		if i > 0 {
			step := int16(p - outside[i-1])
			rising, falling = rising && step > 0 && step < maxGap, falling && step < 0 && step > -maxGap
		}
		if i > 1 {
			steady = steady && p-outside[i-1] == outside[1]-outside[0]
		}
	}
	switch {
	case preserved:
		return Preserving, false
	case steady:
		return Sequential, false
	case rising || falling:
		return Sequential, true
	case high-low < 2048:
		return Block, false
	}
	return Random, false
}

// maxGap bounds what others take between two mappings of a sequence.
const maxGap = 256

// sameParity reports whether all outside ports are as even or odd as the inside ones.
func sameParity(inside, outside []uint16) bool {
	for i := range inside {
		if (inside[i]^outside[i])&1 != 0 {
			return false
		}
	}
	return true
}
