package punch

import (
	"errors"
	"net/netip"
	"time"
)

// Sockets is what an Executor needs of TCP.
type Sockets interface {
	// Dial starts to connect to an address and tells h what becomes of it. It
	// does not block, and it does not call h before it has returned.
	Dial(to netip.AddrPort, o DialOptions, h Handler) Socket
}

// DialOptions is what is special about a dial. That with the zero value is an
// ordinary one from the one local port.
type DialOptions struct {
	// TTL above 0 is that of the SYN, and nothing is taken in that has no more
	// left, nor ICMP errors that quote such a SYN. A low one makes it a quiet
	// dial, which opens the NATs of this side and dies before the other side's;
	// half of the usual one a deaf dial, which arrives.
	TTL int
	// Slot above 0 dials from another local port than the one, always the same
	// for the same slot: the one exception, see Spread.
	Slot int
	// From above 0 is another local port than the one, too: a spare one. The error is
	// or wraps ErrTupleInUse if somebody else on this host has it.
	From uint16
	// Brief has the system repeat the SYN twice at most, where it lets one choose.
	// Brief dials send their SYNs in the order in which they are made.
	Brief bool
}

// Handler is told what happens to a socket, on the executor's goroutine. Once
// the socket is closed it is told nothing more.
type Handler interface {
	// Connected says that the handshake is complete at this end.
	Connected()
	// Received hands over the first proto.PreambleSize bytes from the other end.
	Received(preamble []byte)
	// Failed says that the socket is dead: the dial failed, or the connection
	// ended before a preamble was received. The error is, or wraps, one of
	// those below if the executor is to tell it from other faults.
	Failed(err error)
}

// Socket is a TCP socket that is connecting or connected.
type Socket interface {
	// Send sends a preamble. It does not block.
	Send(preamble []byte)
	// Answered reports, of a dial whose end its Handler has not heard of,
	// whether the peer's SYN or SYN-ACK has come: the handshake is about to be
	// complete (SYN-RECEIVED, RFC 9293), or is already. Where the operating
	// system does not tell, it is false.
	Answered() bool
	// Acknowledged reports, of a connection, whether the other end's system has
	// acknowledged any of what was sent, or may do so still because the own one has
	// not sent it again. Where the own system does not tell, it is true.
	Acknowledged() bool
	// Close gives the socket up with SO_LINGER 0: in SYN_SENT nothing is sent
	// and the 4-tuple is free at once; otherwise the peer gets a RST.
	Close()
	// Abandon is Close that does not wait: the 4-tuple is free soon.
	Abandon()
}

// How a dial can end that concern the executor's next move. See LINUX-TCP.md.
var (
	// ErrRefused means that a RST or an ICMP error came back: a NAT on the way
	// did not expect the SYN, and may have forgotten its own side's entry.
	ErrRefused = errors.New("refused")
	// ErrRepeated is there besides ErrRefused if the system had sent the SYN more
	// than once, so that a quiet one need not be what was refused. The kernel
	// repeats it after a second or, with the normal TTL too, as soon as a packet
	// of an earlier connection has come.
	ErrRepeated = errors.New("the SYN was repeated")
	// ErrTupleInUse means that this host has the 4-tuple in use already: a
	// connection in the listener's queue, its half-open child, or an orphan.
	// It comes at once and without a packet.
	ErrTupleInUse = errors.New("a connection between the same two endpoints exists already")
	// ErrHungUp means that the dial completed, and that the connection ended
	// before the other end had proved itself.
	ErrHungUp = errors.New("closed before the other end had proved itself")
	// ErrStranger is there besides ErrHungUp if the other end had sent something that
	// is too short for a preamble.
	ErrStranger = errors.New("something else had been sent")
	// ErrNoAnswer means that the kernel gave up retransmitting.
	ErrNoAnswer = errors.New("no answer")
)

// Clock is the executor's time.
type Clock interface {
	Now() time.Time
	// AfterFunc calls f on the executor's goroutine once d has passed, unless
	// stop is called there before.
	AfterFunc(d time.Duration, f func()) (stop func())
}
