package peer

import (
	"net/netip"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch"
	"github.com/peerd/peerd/punch/reuse"
)

// Event is one thing that happened to a node. Exactly the fields that belong to
// its Kind are set.
type Event struct {
	Time time.Time
	Kind EventKind
	Peer proto.ID // the peer it is about; zero for the node's own affairs

	Observed netip.AddrPort // Registered: this node as the server sees it
	Retry    time.Duration  // Unregistered: when the next attempt is due
	// Permanent, of Unregistered: there is no next attempt, because it would
	// fail in the same way. The node can only be closed.
	Permanent bool
	// Transcript is what the server has told both sides, which is not to be
	// changed, and Role this one's; of Introduced.
	Transcript *proto.Transcript
	Role       proto.Role
	Port       uint16     // Claimed, Moved: the local port
	Mode       reuse.Mode // Claimed: how it is used
	// Punch is of Punch. Its Err wraps the system's error, a syscall.Errno, where a
	// dial has ended with one; reuse.ErrnoName names it.
	Punch punch.Event
	Path  Path       // Connected, Disconnected
	NAT   *NATStatus // Studied
	// Err is the reason, of Unregistered, ConnectFailed and Disconnected. Of Claimed
	// it is why the port is not shared, and of Moved why the registration is not
	// from the node's own port; nil if it is.
	Err error
}

// EventKind says what happened.
type EventKind string

// The kinds of events.
const (
	Claimed       EventKind = "claimed"      // the local port
	Moved         EventKind = "moved"        // the registration comes from another local port; reuse.Sequential only
	Suspended     EventKind = "suspended"    // the registration makes way for a meeting; reuse.Sequential only
	Registered    EventKind = "registered"   // with the rendezvous server
	Unregistered  EventKind = "unregistered" // an attempt failed, or the connection is lost
	Studied       EventKind = "studied"      // what the NATs in front of this node do
	Introducing   EventKind = "introducing"  // this node asked for an introduction
	Introduced    EventKind = "introduced"   // both sides have the transcript
	Refused       EventKind = "refused"      // a peer that is not allowed asked for this node
	Punch         EventKind = "punch"        // see punch.Event
	Secured       EventKind = "secured"      // TLS is complete on a connection
	Connected     EventKind = "connected"    // a session is confirmed by both sides
	ConnectFailed EventKind = "connect failed"
	Disconnected  EventKind = "disconnected" // a session has ended
)

// Path is the way that a session takes.
type Path struct {
	Kind   PathKind       `json:"kind"`
	Local  netip.AddrPort `json:"local"`
	Remote netip.AddrPort `json:"remote"`
	// RTT is the round trip to the peer when the session was made: the time
	// from ATTACH to ATTACHED for its creator, otherwise 0.
	RTT time.Duration `json:"rtt_ns"`
}

// PathKind says whether a path leads straight to the peer.
type PathKind string

// Direct is a connection between the two peers' own sockets.
const Direct PathKind = "direct"
