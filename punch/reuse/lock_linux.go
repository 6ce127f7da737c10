package reuse

import (
	"fmt"
	"io"
	"net"
)

// lockByName makes sure that two peerds that start at the same moment do not
// both find the port free, and that none takes a port of which another has no
// listener. The lock is a name in the abstract namespace of unix sockets, which
// ends with the process and is seen in this network namespace only.
func lockByName(number uint16) (io.Closer, error) {
	l, err := net.Listen("unix", fmt.Sprintf("@peerd/port/%d", number))
	if isAny(err, posix.portInUse) {
		return nil, reason(err)
	}
	if err != nil {
		return noLock(number) // a policy forbids the name: the exclusive listener has to do
	}
	return l, nil
}
