package peer

import (
	"net/netip"
	"slices"
	"time"

	"github.com/peerd/peerd/proto"
)

// Status is what a node is doing. Its JSON form, and that of what it holds, is
// stable: fields may be added.
type Status struct {
	ID         proto.ID       `json:"id"`
	Server     string         `json:"server"`     // the rendezvous server, host:port
	Registered bool           `json:"registered"` // with it, at this moment
	Observed   netip.AddrPort `json:"observed"`   // this node as the server saw it last; "" before
	Local      netip.AddrPort `json:"local"`      // this node's end of the connection to the server then; "" before
	Port       uint16         `json:"port"`       // the one local TCP port; 0 before Start
	// PortMode is how the port is used, a reuse.Mode ("" before Start), and NotShared
	// why that is not "shared" ("" if it is).
	PortMode  string `json:"port_mode"`
	NotShared string `json:"not_shared"`
	// RegisteredFrom is the local port of the registration: Port, unless that takes
	// one socket at a time and a session has it.
	RegisteredFrom uint16 `json:"registered_from"`
	// NAT is what was found out about the NATs in front of the node; nil before.
	NAT      *NATStatus      `json:"nat"`
	Sessions []SessionStatus `json:"sessions"` // in the order in which they came about; never null
}

// SessionStatus is what a session is doing.
type SessionStatus struct {
	Peer    proto.ID  `json:"peer"`
	Path    Path      `json:"path"`
	Since   time.Time `json:"since"`   // when the session came about
	Streams int       `json:"streams"` // open now, at least at one end
	// What the session has carried so far, in bytes: the streams' data with its
	// framing, some 16 bytes in 64 KiB, without that of TLS.
	BytesIn  uint64 `json:"bytes_in"`
	BytesOut uint64 `json:"bytes_out"`
}

// Status returns what the node is doing at this moment. It is cheap, and safe at
// any time.
func (n *Node) Status() Status {
	st := Status{ID: n.ID(), Server: n.cfg.Server.HostPort(), Port: n.Port(), Sessions: []SessionStatus{}}
	n.mu.Lock()
	st.Local = n.study.here.Local
	if st.Registered, st.Observed = n.registered, n.observed; n.port != nil {
		st.PortMode, st.RegisteredFrom = n.mode.String(), n.sourceLocked().Number()
	}
	if n.study.found != nil {
		st.NAT = natStatus(n.study.found)
	}
	if n.notShared != nil {
		st.NotShared = n.notShared.Error()
	}
	sessions := n.sessionsLocked()
	n.mu.Unlock()
	for _, s := range sessions {
		st.Sessions = append(st.Sessions, s.Status())
	}
	slices.SortStableFunc(st.Sessions, func(a, b SessionStatus) int { return a.Since.Compare(b.Since) })
	return st
}

// sessionsLocked returns all sessions.
func (n *Node) sessionsLocked() (all []*Session) {
	for _, list := range n.sessions {
		all = append(all, list...)
	}
	return all
}

// Status returns what the session is doing at this moment, or was doing when it
// ended.
func (s *Session) Status() SessionStatus {
	return SessionStatus{
		Peer: s.peer, Path: s.Path(), Since: s.since, Streams: s.mux.Streams(),
		BytesIn: s.conn.in.Load(), BytesOut: s.conn.out.Load(),
	}
}
