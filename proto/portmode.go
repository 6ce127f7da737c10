package proto

import "fmt"

// PortMode says how a peer uses its one local port, which is what its operating
// system allows. Both peers derive their plan from it; it gives nobody more than
// the plan's bounds.
type PortMode uint8

// The modes. The values are part of the wire format.
const (
	PortShared     PortMode = 0 // a listener and every dial share the port; also where a peer does not state it
	PortDialOnly   PortMode = 1 // no listener: the peer's SYN is answered only while a dial is under way
	PortSequential PortMode = 2 // one socket at a time, also towards different addresses
)

// Listens reports whether somebody accepts what no dial meets. A mode that this
// version does not know counts as shared.
func (m PortMode) Listens() bool { return m != PortDialOnly && m != PortSequential }

// String names the mode.
func (m PortMode) String() string {
	names := [...]string{"shared", "dial-only", "sequential"}
	if int(m) < len(names) {
		return names[m]
	}
	return fmt.Sprintf("port mode %d", uint8(m))
}
