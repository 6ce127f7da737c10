package reuse

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestErrnoName(t *testing.T) {
	// What the system itself returns: package syscall's ECONNREFUSED is not that everywhere.
	i := slices.IndexFunc(local.refused, func(e syscall.Errno) bool { return strings.HasSuffix(nameOfErrno(e), "ECONNREFUSED") })
	if i < 0 {
		t.Fatalf("none of %v has the name", local.refused)
	}
	refused := &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", local.refused[i])}
	if got := ErrnoName(fmt.Errorf("refused (%w)", refused)); !strings.HasSuffix(got, "ECONNREFUSED") {
		t.Errorf("%q", got)
	}
	if got := ErrnoName(syscall.Errno(9999)); got != "errno 9999" {
		t.Errorf("%q", got)
	}
	for _, err := range []error{nil, errors.New("ECONNREFUSED"), syscall.Errno(0)} {
		if got := ErrnoName(err); got != "" {
			t.Errorf("%v: %q", err, got)
		}
	}
}
