package natlab

import "fmt"

// Behaviour is what [Probe] measures of a NAT. Values are comparable.
type Behaviour struct {
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
	return fmt.Sprintf("%s, %v, unsolicited %v%s, inbound after outbound %v, hairpin %v",
		nat, b.Filtering, b.Unsolicited, limited, b.InboundAfterOutbound, b.Hairpin)
}

// kindOf infers the allocation from inside ports and the outside ports that they were given one after the other.
func kindOf(inside, outside []uint16) AllocationKind {
	preserved, steady := true, true
	low, high := outside[0], outside[0]
	for i, p := range outside {
		preserved = preserved && p == inside[i]
		low, high = min(low, p), max(high, p)
		if i > 1 {
			steady = steady && p-outside[i-1] == outside[1]-outside[0]
		}
	}
	switch {
	case preserved:
		return Preserving
	case steady:
		return Sequential
	case high-low < 2048:
		return Block
	}
	return Random
}
