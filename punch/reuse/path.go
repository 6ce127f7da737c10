//go:build linux || darwin

package reuse

import (
	"os"
	"syscall"
)

// onSocket calls f with the connection's descriptor.
func onSocket(conn syscall.Conn, f func(fd int) error) error {
	raw, err := conn.SyscallConn()
	if err != nil {
		return err
	}
	if cerr := raw.Control(func(fd uintptr) { err = f(int(fd)) }); cerr != nil {
		return cerr
	}
	return os.NewSyscallError("sockopt", err)
}
