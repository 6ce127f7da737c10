package proto

import "fmt"

// Code says why something was refused. The values are part of the wire format.
type Code uint16

// The codes.
const (
	CodeOK            Code = 0
	CodeOffline       Code = 1  // the peer is not registered, or does not answer
	CodeRefused       Code = 2  // the peer did not consent
	CodeTimeout       Code = 3  // the peer did not answer in time
	CodeBusy          Code = 4  // a limit of the sender is reached; try later
	CodeProtocol      Code = 5  // the receiver broke the protocol
	CodeReplaced      Code = 6  // a newer connection took the registration over
	CodeShutdown      Code = 7  // the sender is going down
	CodeNotAuthorised Code = 8  // the peer has not authorised the sender
	CodeNotExposed    Code = 9  // the target is not exposed to the sender
	CodeDialFailed    Code = 10 // the target could not be reached
	CodeNoSession     Code = 11 // the sender does not know the session: it restarted
	CodeEnded         Code = 12 // the session has ended
	CodeUnreachable   Code = 13 // the target's host does not answer, or there is none
	CodeNotStored     Code = 14 // the sender could not store the other peer
)

// String says the code in words.
func (c Code) String() string {
	words := [...]string{
		"ok", "offline", "refused", "no answer in time", "busy", "protocol error",
		"replaced by a newer connection", "shutting down", "not authorised",
		"target not exposed", "target not reached", "unknown session",
		"session ended", "the target's host not reached", "not stored",
	}
	if int(c) < len(words) {
		return words[c]
	}
	return fmt.Sprintf("code %d", uint16(c))
}
