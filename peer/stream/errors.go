package stream

import (
	"errors"
	"fmt"
	"net"

	"github.com/peerd/peerd/proto"
)

var (
	// ErrAborted means that the stream ended without END: what was read so far
	// may be incomplete. Errors that wrap it say why.
	ErrAborted = errors.New("the stream was cut off before its end")
	// ErrDead means that nothing was heard from the other end for DeadAfter.
	ErrDead = errors.New("the connection is dead: nothing was received for too long")
	// ErrClosed means that this end has closed the session.
	ErrClosed = errors.New("the session is closed")
	// ErrProtocol means that the other end broke the rules of the specification.
	ErrProtocol = errors.New("the other end broke the stream protocol")
	// ErrReaderGone means that the other end has closed the stream and takes no
	// more data.
	ErrReaderGone = errors.New("the other end takes no more data")
)

// RefusedError says that the other end did not open the target, or does not
// listen at an address.
type RefusedError struct {
	Peer   net.Addr // the other end; in package peer, an Addr with its ID
	Target string   // or the address
	Code   proto.Code
	Text   string // the other end's words; may be empty
}

// Error names the target and the reason.
func (e *RefusedError) Error() string {
	if e.Text == "" {
		return fmt.Sprintf("target %q: %v", e.Target, e.Code)
	}
	return fmt.Sprintf("target %q: %v: %s", e.Target, e.Code, e.Text)
}
