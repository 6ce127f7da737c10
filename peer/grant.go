package peer

import (
	"slices"

	"github.com/peerd/peerd/peer/tunnel"
	"github.com/peerd/peerd/proto"
)

// Grant says what an authorised peer may do. The zero Grant lets it open what
// this node offers, and nothing else. A peer that is authorised twice, by
// Config.Allow and Config.Authorize, may do what either grants.
type Grant struct {
	// Open are the targets that the peer may open: nil means every name in
	// Config.Expose and every service of Node.Listen; otherwise exactly those
	// that one of the entries of permit-open permits, so an empty list permits
	// none. See tunnel.CheckOpen for what an entry is, and to check it: one that
	// is wrong permits nothing.
	Open []string
	// Listen are the addresses at which the peer may have this node listen for
	// it, as entries of permit-listen, for which see tunnel.CheckListen; nil
	// permits none.
	Listen []string
}

// grants returns what a peer may do at this moment: one Grant for each way in
// which it is authorised, so none for a stranger. It must not be called with
// n.mu held, because it calls the program.
func (n *Node) grants(id proto.ID) (list []Grant) {
	if slices.Contains(n.cfg.Allow, id) {
		list = append(list, Grant{})
	}
	if n.cfg.Authorize != nil {
		if g, ok := n.cfg.Authorize(id); ok {
			list = append(list, g)
		}
	}
	return list
}

// mayConnect reports whether a session with a peer is wanted here: because it
// is authorised, or because this node has called it, which grants no targets.
func (n *Node) mayConnect(id proto.ID) bool { return n.wants(id) || len(n.grants(id)) > 0 }

// serves reports whether the grant holds for a service of this node's.
func (g Grant) serves(name string) bool {
	return g.Open == nil || tunnel.Permitted(g.Open, name)
}
