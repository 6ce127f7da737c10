package reuse

import (
	"errors"
	"fmt"
	"syscall"
)

// ErrnoName returns the name of the system's error that err is or wraps, as C
// programs know it, such as "ECONNREFUSED"; "" if there is none.
func ErrnoName(err error) string {
	var errno syscall.Errno
	if !errors.As(err, &errno) || errno == 0 {
		return ""
	}
	if name := nameOfErrno(errno); name != "" {
		return name
	}
	return fmt.Sprintf("errno %d", uint(errno))
}
