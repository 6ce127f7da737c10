package reuse

import (
	"fmt"
	"strings"
)

// Mode is how a node uses its one local port.
type Mode uint8

// The modes, the best first.
const (
	// Shared: a listener, the server's connection and every dial share the port.
	Shared Mode = iota + 1
	// DialOnly: there is no listener. What dials shares the port, and a peer's
	// SYN is met by a dial to it that is under way: simultaneous open (RFC 9293,
	// 3.5).
	DialOnly
	// Sequential: one socket at a time, which is closed before the port is bound
	// again. The last resort: between two sockets the port is anybody's.
	Sequential
)

var modeNames = [...]string{Shared: "shared", DialOnly: "dial-only", Sequential: "sequential"}

// String returns the name that ParseMode takes.
func (m Mode) String() string {
	if m == 0 || int(m) >= len(modeNames) {
		return fmt.Sprintf("mode %d", uint8(m))
	}
	return modeNames[m]
}

// ParseMode returns the mode of a name.
func ParseMode(s string) (Mode, error) {
	for m := Shared; m <= Sequential; m++ {
		if s == modeNames[m] {
			return m, nil
		}
	}
	return 0, fmt.Errorf("%q is no mode of a local port: there are %s", s, strings.Join(modeNames[Shared:], ", "))
}
