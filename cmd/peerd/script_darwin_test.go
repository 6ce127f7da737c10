package main

// What the scripts' conditions pty and replaces say.
const (
	hasPseudoTerminals = true
	replacesSockets    = false
)
