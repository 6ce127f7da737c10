package main

import "golang.org/x/sys/windows"

// monotonic returns the time since boot in nanoseconds; it is the same for all
// processes of the machine.
func monotonic() int64 { return windows.DurationSinceBoot().Nanoseconds() }

// stopSelf does nothing: labs, and the freezing of their agents, need Linux.
func stopSelf() {}
