//go:build unix

package main

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// monotonic returns the system's monotonic clock in nanoseconds; it is the same
// for all processes of the machine.
func monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		panic(err) // every system has it
	}
	return ts.Nano()
}

// stopSelf stops this process until somebody continues it.
func stopSelf() { syscall.Kill(os.Getpid(), syscall.SIGSTOP) }
