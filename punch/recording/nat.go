package recording

import (
	"fmt"

	"github.com/peerd/peerd/proto"
)

// NATOf puts a report into words; nil stays nil.
func NATOf(r *proto.NATReport) *NAT {
	if r == nil {
		return nil
	}
	return &NAT{
		Mapping: r.Mapping.String(), Allocation: r.Allocation.String(),
		Delta: r.Delta, Low: r.Low, High: r.High, Confidence: r.Confidence,
		Samples: append([]uint16{}, r.Samples...), Age: r.Age, Background: r.Background,
		Pooling: r.Pooling.String(), Filtering: r.Filtering.String(),
		Unsolicited: r.Unsolicited.String(), Crossing: r.Crossing.String(),
		OnReset: r.OnReset.String(), Poisoned: r.Poisoned.String(), Hairpin: r.Hairpin.String(),
		Hops: r.Hops, Proxied: r.Proxied.String(),
	}
}

// Report is the report that was recorded. A word that this version does not know
// counts as unknown.
func (n *NAT) Report() *proto.NATReport {
	if n == nil {
		return nil
	}
	return &proto.NATReport{
		Mapping: valueOf[proto.NATMapping](n.Mapping), Allocation: valueOf[proto.NATAllocation](n.Allocation),
		Delta: n.Delta, Low: n.Low, High: n.High, Confidence: n.Confidence,
		Samples: n.Samples, Age: n.Age, Background: n.Background,
		Pooling: valueOf[proto.NATPooling](n.Pooling), Filtering: valueOf[proto.NATFiltering](n.Filtering),
		Unsolicited: valueOf[proto.NATAnswer](n.Unsolicited), Crossing: valueOf[proto.NATAnswer](n.Crossing),
		OnReset: valueOf[proto.NATErrorPolicy](n.OnReset), Poisoned: valueOf[proto.NATTruth](n.Poisoned),
		Hairpin: valueOf[proto.NATAnswer](n.Hairpin), Hops: n.Hops, Proxied: valueOf[proto.NATTruth](n.Proxied),
	}
}

// valueOf finds the value with a name; 0, which is unknown, if there is none.
func valueOf[T interface {
	~uint8
	fmt.Stringer
}](word string) T {
	for v := range T(maxWords) {
		if v.String() == word {
			return v
		}
	}
	return 0
}

// maxWords is more than any enumeration of a report has.
const maxWords = 64
