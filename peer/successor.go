package peer

import (
	"time"

	"github.com/peerd/peerd/peer/stream"
	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch"
)

// predecessorLife is for how long NATs may know the connections of a program that
// had this node's port before: netfilter has 120 s for those that were about to
// end.
const predecessorLife = 2 * time.Minute

// firstDials says who of the two begins quietly where one of them was started
// again on its port: it does, and the other one, which has seen the predecessor,
// begins loudly. Without a NAT of its own a quiet SYN opens nothing, and may get as
// far as the peer's NAT.
func (m *meeting) firstDials() punch.First {
	n := m.node
	n.mu.Lock()
	defer n.mu.Unlock()
	met, ok := n.instances[m.peer]
	switch {
	case ok && met != m.instance():
		return punch.Loudly
	case !ok && n.cfg.LocalPort != 0 && time.Since(n.began) < predecessorLife && punch.BehindNAT(m.intro.Transcript.Party(m.intro.Role)):
		return punch.Quietly
	}
	return punch.AsPlanned
}

// instance is that of the peer.
func (m *meeting) instance() proto.Token {
	return m.intro.Transcript.Party(m.intro.Role.Peer()).Instance
}

// maxInstances bounds the peers of which the last instance is known: where anybody
// may connect, identities cost nothing.
const maxInstances = 1024

// noteLocked remembers a peer's instance, and forgets anybody's if there are too many.
func (n *Node) noteLocked(peer proto.ID, instance proto.Token) {
	if _, ok := n.instances[peer]; !ok && len(n.instances) >= maxInstances {
		for other := range n.instances {
			delete(n.instances, other)
			break
		}
	}
	n.instances[peer] = instance
}

// adopt makes an attached connection a session with the peer, and notes which of
// its instances that is with.
func (m *meeting) adopt(a *attached, mux *stream.Mux) *Session {
	n := m.node
	n.mu.Lock()
	n.noteLocked(m.peer, m.instance())
	n.mu.Unlock()
	return n.adopt(m.peer, a, mux)
}
