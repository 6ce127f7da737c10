package reuse

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"testing"
)

func TestErrnoName(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
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
