package reuse

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"
)

// InUseError says that a dial could not be made for what this host has already:
// the port, where it cannot be shared, or a connection between the same two
// endpoints, which may have ended and be in TIME_WAIT. IsTupleInUse is true of
// it.
type InUseError struct {
	Port uint16
	To   netip.AddrPort
	Err  error // the operating system's answer
}

// Error says how long this can last.
func (e *InUseError) Error() string {
	var call *os.SyscallError
	if errors.As(e.Err, &call) && call.Syscall == "bind" {
		return fmt.Sprintf("local port %d is in use by another socket (%v)", e.Port, e.Err)
	}
	return fmt.Sprintf("this host still holds a connection from port %d to %v, for up to %d s if it has ended (%v)",
		e.Port, e.To, local.timeWait/time.Second, e.Err)
}

// Unwrap returns the operating system's answer.
func (e *InUseError) Unwrap() error { return e.Err }

// dialError is the error of package net for a dial that failed.
func dialError(port uint16, to netip.AddrPort, err error) error {
	err = reason(err)
	switch {
	case IsTupleInUse(err) && lacksSource(to):
		err = fmt.Errorf("this host has no address to reach it from (%v)", err) // no %w: another try is of no use
	case IsTupleInUse(err):
		err = &InUseError{port, to, err}
	}
	return &net.OpError{Op: "dial", Net: "tcp", Addr: net.TCPAddrFromAddrPort(to), Err: err}
}

// lacksSource reports whether the system says the same of an address for want of
// one of its own, such as where there is a route for IPv6 and no address yet.
// It is asked with UDP, which sends nothing.
func lacksSource(to netip.AddrPort) bool {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err == nil {
		conn.Close()
	}
	return IsTupleInUse(err)
}
