//go:build unix

package ownfile

import (
	"os"
	"syscall"
	"testing"
)

// TestMain has what the tests create be the user's alone to write, whatever the
// user's mask is.
func TestMain(m *testing.M) {
	syscall.Umask(0o022)
	os.Exit(m.Run())
}
