package main

// What the scripts' conditions pty, replaces and dialsback say.
const (
	hasPseudoTerminals = true
	replacesSockets    = true
	dialsBack          = true
)
