//go:build !(linux || darwin || freebsd || netbsd || openbsd || dragonfly)

package identity

func addLocked(map[string]func(temp, path string) error) {}
