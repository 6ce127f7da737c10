package reuse

import (
	"fmt"
	"io"
	"net"

	"golang.org/x/sys/unix"
)

// pin makes the program that chooses among the listeners of the port always
// choose the first, which is ours. It has to be set before bind.
var pin = option{name: "SO_ATTACH_REUSEPORT_CBPF", set: func(fd uintptr) error {
	first := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	prog := &unix.SockFprog{Len: uint16(len(first)), Filter: &first[0]}
	return unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, prog)
}}

// lockByName makes sure that two peerds that start at the same moment do not
// both find the port free, and that none takes a port of which another has no
// listener. The lock is a name in the abstract namespace of unix sockets, which
// ends with the process and is seen in this network namespace only.
func lockByName(number uint16) (io.Closer, error) {
	l, err := net.Listen("unix", fmt.Sprintf("@peerd/port/%d", number))
	if isAny(err, posix.portInUse) {
		return nil, reason(err)
	}
	if err != nil {
		return noLock(number) // a policy forbids the name: the exclusive listener has to do
	}
	return l, nil
}

// synAckCount is how often the listener repeats a SYN-ACK. A half-open connection
// whose SYN-ACK does not arrive keeps our own dials to its far end from being
// made; with one repetition it is gone after 3 s instead of 63.
var synAckCount = integer("TCP_SYNCNT", unix.IPPROTO_TCP, unix.TCP_SYNCNT, 1)

// synCount ends a dial whose program has been stopped after about synLimit: at
// 0 1 2 3 4 5 7 11 19 s its SYN is sent, and until 6.5 at 0 1 3 7 15 s.
var synCount = integer("TCP_SYNCNT", unix.IPPROTO_TCP, unix.TCP_SYNCNT, 4)
