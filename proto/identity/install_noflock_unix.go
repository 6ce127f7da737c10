//go:build unix && !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package identity

// installLocked fails with cause: there is no other way to install atomically.
func installLocked(_, _ string, cause error) error { return cause }
