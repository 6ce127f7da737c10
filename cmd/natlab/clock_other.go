//go:build !linux

package main

import (
	"errors"
	"os"
	"time"
)

// Labs need Linux, so elsewhere the functions of clock_linux.go have nothing to
// do; they exist so that the program compiles and can say so.

var started = time.Now()

// monotonic returns the time since this process started in nanoseconds.
func monotonic() int64 { return int64(time.Since(started)) }

// stopSelf does nothing.
func stopSelf() {}

// stopProcess fails.
func stopProcess(*os.Process) error { return errors.ErrUnsupported }

// continueProcess fails.
func continueProcess(*os.Process) error { return errors.ErrUnsupported }
