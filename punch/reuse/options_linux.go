package reuse

import "golang.org/x/sys/unix"

// pin makes the program that chooses among the listeners of the port always
// choose the first, which is ours. It has to be set before bind. Before 4.5, which
// does not know it, another listener of this user gets a share.
var pin = wished(option{name: "SO_ATTACH_REUSEPORT_CBPF", set: func(fd uintptr) error {
	first := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	prog := &unix.SockFprog{Len: uint16(len(first)), Filter: &first[0]}
	return unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, prog)
}})

// synAckCount is how often the listener repeats a SYN-ACK. A half-open connection
// whose SYN-ACK does not arrive keeps our own dials to its far end from being
// made; with one repetition it is gone after 3 s instead of 63.
var synAckCount = wished(integer("TCP_SYNCNT", unix.IPPROTO_TCP, unix.TCP_SYNCNT, 1))

// synOnce ends a dial after 3 s: its SYN is sent at 0 and 1 s, and since Linux 6.5
// (tcp_syn_linear_timeouts) at 2 s, too.
var synOnce = wished(integer("TCP_SYNCNT", unix.IPPROTO_TCP, unix.TCP_SYNCNT, 1))

// synCount ends a dial after about 30 s: its SYN is sent at
// 0 1 2 3 4 5 7 11 19 s, and before 6.5 at 0 1 3 7 15 s.
var synCount = wished(integer("TCP_SYNCNT", unix.IPPROTO_TCP, unix.TCP_SYNCNT, 4))
