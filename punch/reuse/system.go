package reuse

import (
	"io"
	"time"
)

// system is what the rest of the package knows of an operating system. The file
// system_*.go of each declares one, as local, and says where it comes from: the
// system's manual, or what was seen of it. Probe finds out what comes of it.
//
// Two things are the same everywhere. Keepalive is off, also where a manual has
// it on: sessions and registrations have pings of their own. A dial has
// SO_LINGER 0 until it has connected: one that is given up leaves nothing that
// blocks its 4-tuple.
type system struct {
	errnos

	// share is set on every socket of the port, so that it can have several.
	share options
	// exclusive is set on the listener that finds out whether the port is free:
	// it fails if another program listens, or holds the port for itself, but
	// not for connections that have ended.
	exclusive options
	// listen is set on the listener besides share.
	listen options
	// dial is set on what dials besides share.
	dial options
	// brief is set on a dial whose SYN is to be repeated twice at most; nothing
	// where that cannot be set.
	brief options
	// hold lists what a socket could have that keeps the port from others while
	// there is no listener. The first that our own dials pass is taken.
	hold []options
	// timeWait is how long this system keeps a 4-tuple after its connection has
	// ended.
	timeWait time.Duration
	// lock keeps two of our processes from claiming a port at the same moment.
	lock func(number uint16) (io.Closer, error)
}

// noLock is for systems on which the exclusive listener has to do: between it
// and the listener for good another program can come.
func noLock(uint16) (io.Closer, error) { return unlocked{}, nil }

type unlocked struct{}

// Close does nothing.
func (unlocked) Close() error { return nil }
