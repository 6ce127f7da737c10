package reuse

import (
	"net/netip"
	"time"
)

// BeginFresh starts to connect to an address from a port that the system chooses
// and nothing else has. Wait must be called on the result.
func BeginFresh(to netip.AddrPort) *Dial { return new(Port).Begin(to, 0, time.Time{}) }
