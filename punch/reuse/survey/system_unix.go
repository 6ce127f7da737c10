//go:build unix && !solaris

package survey

import "golang.org/x/sys/unix"

const reusePort = unix.SO_REUSEPORT

// exclusiveName is empty: no option shares a port with nobody, which is what a
// socket without options does.
const exclusiveName = ""

// keepToItself does nothing.
func (s socket) keepToItself() error { return nil }
