package reuse

import (
	"os"
	"testing"

	"golang.org/x/sys/windows"
)

// A dial that finds no route has sent nothing: taken for a peer's refusal, it would
// be repeated at once.
func TestNoRouteIsNoRefusal(t *testing.T) {
	if IsRefused(os.NewSyscallError("connect", windows.WSAENETUNREACH)) {
		t.Error("WSAENETUNREACH counts as refused")
	}
	if !IsRefused(os.NewSyscallError("connect", windows.WSAECONNREFUSED)) {
		t.Error("WSAECONNREFUSED does not count as refused")
	}
}
