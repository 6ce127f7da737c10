package survey

import "errors"

// direction is what a socket is waited for.
type direction bool

const (
	input  direction = false
	output direction = true
)

var (
	// errNoOption means that there is no number by which to ask this system for
	// SO_REUSEPORT.
	errNoOption = errors.New(NoReusePort)

	// errNobody means that no connection waits to be accepted.
	errNobody = errors.New("nobody waits")
)
