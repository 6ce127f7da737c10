package reuse

import (
	"errors"
	"slices"
	"syscall"
)

// errnos says what a system's errors mean here.
type errnos struct {
	refused    []syscall.Errno // a dial: a RST came, or an ICMP error
	answered   []syscall.Errno // a dial: of those refused, what a RST leads to only once there is an answer
	tupleInUse []syscall.Errno // a dial: the 4-tuple or the port is in use on this host
	noAnswer   []syscall.Errno // a dial: the system repeats the SYN no more
	icmp       []syscall.Errno // a dial: of those refused, what only ICMP errors lead to
	portInUse  []syscall.Errno // bind, listen: another socket has the port
	exhausted  []syscall.Errno // no more sockets or memory
	unknown    []syscall.Errno // setsockopt: there is no such option
}

// IsRefused reports whether a dial ended by a RST or an ICMP error.
func IsRefused(err error) bool { return isAny(err, local.refused) && !isUnsent(err) }

// IsAnswered reports whether a dial that ended by a RST had been answered for certain,
// as behind proxies, which say only then what their own dials have met.
func IsAnswered(err error) bool { return isAny(err, local.answered) && !isUnsent(err) }

// IsUnreachable reports whether a dial ended by an ICMP error for certain.
func IsUnreachable(err error) bool { return isAny(err, local.icmp) && !isUnsent(err) }

// unsentError is why a dial ended before its SYN had left this host: for want of a
// route or of a right, for instance. Systems say the same where an ICMP error has
// come.
type unsentError struct{ error }

// Unwrap returns the error that it would be otherwise.
func (e *unsentError) Unwrap() error { return e.error }

func isUnsent(err error) bool {
	var unsent *unsentError
	return errors.As(err, &unsent)
}

// IsTupleInUse reports whether a dial failed because this host has the 4-tuple
// in use or, where the port cannot be shared, the port.
func IsTupleInUse(err error) bool { return isAny(err, local.tupleInUse) }

// IsNoAnswer reports whether the system gave up repeating a dial's SYN.
func IsNoAnswer(err error) bool { return isAny(err, local.noAnswer) }

func isAny(err error, list []syscall.Errno) bool {
	return slices.ContainsFunc(list, func(e syscall.Errno) bool { return errors.Is(err, e) })
}
