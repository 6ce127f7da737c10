//go:build unix && !linux && !darwin

package main

// What the scripts' conditions pty, replaces and dialsback say.
const (
	hasPseudoTerminals = false
	replacesSockets    = false
	dialsBack          = false
)
