package peer

import (
	"time"

	"github.com/peerd/peerd/punch/nat"
)

// NATStatus is what a node has found out about the NATs in front of it, in the
// terms of RFC 4787 and RFC 5382; see proto.NATReport for what the values are.
// "unknown" and 0 are what it could not find out.
type NATStatus struct {
	Measured time.Time `json:"measured"` // when
	TookMS   float64   `json:"took_ms"`  // for how long
	Mapping  string    `json:"mapping"`

	Allocation string   `json:"allocation"`
	Delta      int      `json:"delta"`      // of a sequence
	Low        int      `json:"low"`        // of a block
	High       int      `json:"high"`       //
	Confidence int      `json:"confidence"` // in the allocation, in percent
	Background float64  `json:"background"` // of a sequence: mappings that others make in a second
	Samples    []uint16 `json:"samples"`    // outside ports of the latest mappings; never null

	Pooling     string `json:"pooling"`
	Filtering   string `json:"filtering"`
	Unsolicited string `json:"unsolicited"`
	Crossing    string `json:"crossing"`
	OnReset     string `json:"on_reset"`
	Poisoned    string `json:"poisoned"`
	Hairpin     string `json:"hairpin"`
	Hops        int    `json:"hops"`
	Proxied     string `json:"proxied"`
	// Unknown says of each field that is unknown, by its name here, why it is; never
	// null.
	Unknown map[string]string `json:"unknown"`
}

func natStatus(r *nat.Result) *NATStatus {
	st := &NATStatus{
		Measured: r.At, TookMS: float64(r.Took.Microseconds()) / 1000,
		Mapping: r.Mapping.String(), Allocation: r.Allocation.String(), Delta: int(r.Delta), Low: int(r.Low), High: int(r.High),
		Confidence: int(r.Confidence), Background: float64(r.Background) / 1000, Samples: append([]uint16{}, r.Samples...),
		Pooling: r.Pooling.String(), Filtering: r.Filtering.String(), Unsolicited: r.Unsolicited.String(), Crossing: r.Crossing.String(),
		OnReset: r.OnReset.String(), Poisoned: r.Poisoned.String(), Hairpin: r.Hairpin.String(), Hops: int(r.Hops), Proxied: r.Proxied.String(),
		Unknown: make(map[string]string),
	}
	for field, why := range r.Why {
		st.Unknown[string(field)] = why
	}
	return st
}
