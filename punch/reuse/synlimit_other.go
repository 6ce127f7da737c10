//go:build darwin || dragonfly || freebsd || netbsd || solaris

package reuse

import "time"

// synLimit is how long a system may go on repeating a dial's SYN, where that can be
// set. The dial's context ends it before, unless the program has been stopped
// meanwhile.
const (
	synLimit             = 30 * time.Second
	synLimitSeconds      = int(synLimit / time.Second)
	synLimitMilliseconds = int(synLimit / time.Millisecond)
)
