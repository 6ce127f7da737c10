//go:build unix && !linux && !darwin

package main

// What the scripts' conditions pty and replaces say.
const (
	hasPseudoTerminals = false
	replacesSockets    = false
)
