package peer

import (
	"errors"
	"fmt"

	"github.com/peerd/peerd/peer/stream"
	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch"
)

// Errors that callers branch on. A *DialError wraps one of them, or an
// *identity.MismatchError, where the reason is known.
var (
	// ErrServer means that the rendezvous server could not be reached.
	ErrServer = errors.New("rendezvous server unreachable")
	// ErrOffline means that the server does not know the peer, or that it does
	// not answer.
	ErrOffline = errors.New("peer unknown or offline")
	// ErrUnknownPeer means that a name stands for no peer. Nobody was asked.
	ErrUnknownPeer = errors.New("unknown peer")
	// ErrNotAuthorised means that the peer has not allowed this node.
	ErrNotAuthorised = errors.New("not authorised by the peer")
	// ErrNoDirect means that no direct connection came about.
	ErrNoDirect = errors.New("no direct connection")
	// ErrClosed means that this end has closed the node or the session, or is
	// shutting the node down.
	ErrClosed = errors.New("closed at this end")
)

var errNotStarted = errors.New("the node has not been started")

// RefusedError says that the peer did not open a target.
type RefusedError = stream.RefusedError

// ErrAborted means that a stream was cut off before its end.
var ErrAborted = stream.ErrAborted

// Phase is how far a connection to a peer has come.
type Phase string

// The phases, in order.
const (
	PhaseRegister  Phase = "register"  // with the rendezvous server
	PhaseIntroduce Phase = "introduce" // the server asks the peer
	PhasePunch     Phase = "punch"     // both dial each other
	PhaseSecure    Phase = "secure"    // TLS
	PhaseAttach    Phase = "attach"    // the peer takes the connection into use
	PhaseConnected Phase = "connected"
	PhaseOpen      Phase = "open" // a stream, over a session that is there
)

// DialError says why there is no connection to a peer.
type DialError struct {
	Peer     proto.ID
	Phase    Phase // in which it failed
	Err      error
	Attempts []punch.Event // what punching tried; nil if it did not come to that
}

// Error names the peer, the phase and the cause.
func (e *DialError) Error() string {
	return fmt.Sprintf("connecting to %s: %s: %v", e.Peer, e.Phase, e.Err)
}

// Unwrap returns the cause.
func (e *DialError) Unwrap() error { return e.Err }
