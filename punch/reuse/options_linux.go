package reuse

import (
	"fmt"
	"io"
	"net"

	"golang.org/x/sys/unix"
)

// exclusiveOptions lets a listen fail if any program listens on the port:
// SO_REUSEADDR alone is shared with nobody who listens, and passes over
// connections that have ended.
func exclusiveOptions(fd uintptr) error { return set(fd, unix.SO_REUSEADDR, 1) }

// dialOptions are SO_REUSEADDR and SO_REUSEPORT (Linux ≥ 3.9), and SO_LINGER 0
// so that a dial that is given up leaves no orphan that blocks its 4-tuple.
func dialOptions(fd uintptr) error {
	if err := share(fd); err != nil {
		return err
	}
	return unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
}

// listenOptions shares the port with our own dials, and pins it: the program
// that chooses among the listeners of the port always chooses the first, which
// is ours. It has to be set before bind.
func listenOptions(fd uintptr) error {
	if err := share(fd); err != nil {
		return err
	}
	if err := unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_SYNCNT, synAckRetries); err != nil {
		return err
	}
	first := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	prog := &unix.SockFprog{Len: uint16(len(first)), Filter: &first[0]}
	return unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, prog)
}

// synAckRetries is how often the listener repeats a SYN-ACK. A half-open
// connection whose SYN-ACK does not arrive keeps our own dials to its far end
// from being made; with one repetition it is gone after 3 s instead of 63.
const synAckRetries = 1

func share(fd uintptr) error {
	if err := set(fd, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	return set(fd, unix.SO_REUSEPORT, 1)
}

func set(fd uintptr, option, value int) error {
	return unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, option, value)
}

// lockPort makes sure that two peerds that start at the same moment do not both
// find the port free. The lock is a name in the abstract namespace of unix
// sockets, which ends with the process and is seen in this network namespace
// only.
func lockPort(number uint16) (io.Closer, error) {
	l, err := net.Listen("unix", fmt.Sprintf("@peerd/port/%d", number))
	if err != nil {
		return nil, cause(err)
	}
	return l, nil
}
