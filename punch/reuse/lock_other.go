//go:build !linux

package reuse

import "io"

// lockPort does nothing: on this system the exclusive listen has to do.
func lockPort(uint16) (io.Closer, error) { return noLock{}, nil }

type noLock struct{}

// Close does nothing.
func (noLock) Close() error { return nil }
