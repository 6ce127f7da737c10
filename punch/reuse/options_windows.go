package reuse

import (
	"golang.org/x/sys/windows"
)

// SO_EXCLUSIVEADDRUSE of winsock2.h, the complement of SO_REUSEADDR.
const soExclusiveAddrUse = ^windows.SO_REUSEADDR

// exclusiveOptions keeps every other socket from the port.
func exclusiveOptions(fd uintptr) error { return set(fd, soExclusiveAddrUse, 1) }

// dialOptions is SO_REUSEADDR, which on Windows shares the port like
// SO_REUSEPORT elsewhere, and SO_LINGER 0 so that a dial that is given up
// leaves nothing that blocks its 4-tuple.
func dialOptions(fd uintptr) error {
	if err := listenOptions(fd); err != nil {
		return err
	}
	return windows.SetsockoptLinger(windows.Handle(fd), windows.SOL_SOCKET, windows.SO_LINGER, &windows.Linger{Onoff: 1})
}

func listenOptions(fd uintptr) error { return set(fd, windows.SO_REUSEADDR, 1) }

func set(fd uintptr, option, value int) error {
	return windows.SetsockoptInt(windows.Handle(fd), windows.SOL_SOCKET, option, value)
}
