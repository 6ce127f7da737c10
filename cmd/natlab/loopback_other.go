//go:build !linux

package main

import "errors"

// raiseLoopback is for the lab, which needs Linux.
func raiseLoopback() error { return errors.ErrUnsupported }
