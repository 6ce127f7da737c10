package survey

import "golang.org/x/sys/unix"

const canPin = true

// pin makes the program that chooses among the listeners of a port always
// choose the first. It has to be set before bind.
func (s socket) pin() error {
	first := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: 0}}
	prog := &unix.SockFprog{Len: uint16(len(first)), Filter: &first[0]}
	return unix.SetsockoptSockFprog(int(s), unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, prog)
}
