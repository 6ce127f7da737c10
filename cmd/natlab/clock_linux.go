package main

import (
	"os"
	"os/signal"
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

// stopSelf stops this process until somebody continues it. Other threads may
// run for a moment longer, but the caller goes on only after the SIGCONT.
func stopSelf() {
	continued := make(chan os.Signal, 1)
	signal.Notify(continued, syscall.SIGCONT)
	defer signal.Stop(continued)
	syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	<-continued
}

// stopProcess stops another process until somebody continues it.
func stopProcess(p *os.Process) error { return p.Signal(syscall.SIGSTOP) }

// continueProcess ends a stop.
func continueProcess(p *os.Process) error { return p.Signal(syscall.SIGCONT) }
