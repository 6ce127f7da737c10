package survey

import "fmt"

// Options are what is set on a socket before bind.
type Options uint8

// SO_REUSEADDR and SO_REUSEPORT, which notes on the subject call A and P.
const (
	None Options = 0
	Addr Options = 1
	Port Options = 2
	Both         = Addr | Port
)

var allOptions = []Options{None, Addr, Port, Both}

// String returns "-", "A", "P" or "AP".
func (o Options) String() string { return [...]string{"-", "A", "P", "AP"}[o&Both] }

// Address is what a socket is bound to.
type Address uint8

// Wild6 has IPV6_V6ONLY set and WildDual has it cleared; the other IPv6
// addresses have it as the system sets it. Specific4 is an address of an
// interface that is not loopback, or else 127.0.0.2; Specific6 likewise, not
// link-local. Group4 and Group6 are multicast groups, for UDP, which are bound
// but not joined.
const (
	Wild4 Address = iota
	Loop4
	Specific4
	Wild6
	Loop6
	Specific6
	WildDual
	Group4
	Group6
)

var addressNames = [...]string{"wild4", "loop4", "specific4", "wild6", "loop6", "specific6", "wilddual", "group4", "group6"}

// String returns the constant's name in lower case.
func (a Address) String() string { return addressNames[a] }

// IsGroup reports whether the address is a multicast group.
func (a Address) IsGroup() bool { return a == Group4 || a == Group6 }

// Is6 reports whether the address needs an IPv6 socket.
func (a Address) Is6() bool { return a >= Wild6 && a != Group4 }

// State is that of the first socket when the second one is made.
type State uint8

// Connected is bound, then connected to a listener on another port of its own
// address. Only TCP sockets are Listening or Connected.
const (
	Bound State = iota
	Listening
	Connected
)

// String returns the constant's name in lower case.
func (s State) String() string { return [...]string{"bound", "listening", "connected"}[s] }

// Case is one combination: a first socket, and a second one that wants the same
// port. It is comparable.
type Case struct {
	UDP                         bool // else TCP
	State                       State
	First, Second               Address
	FirstOptions, SecondOptions Options
}

// String names the case in one line, as in "tcp listening wild4/AP then loop4/P".
func (c Case) String() string {
	return fmt.Sprintf("%s %v %v/%v then %v/%v", c.Protocol(), c.State, c.First, c.FirstOptions, c.Second, c.SecondOptions)
}

// Protocol returns "tcp" or "udp".
func (c Case) Protocol() string {
	if c.UDP {
		return "udp"
	}
	return "tcp"
}
