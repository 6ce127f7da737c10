package sim

import (
	"cmp"
	"time"
)

// conntrack is netfilter's view of one connection: nf_conntrack_proto_tcp.c of
// Linux 6 without FIN, options and window scaling, with nf_conntrack_tcp_loose.
type conntrack struct {
	rules     *ctRules
	state     ctState
	seen      [2]ctSeen // by direction of the sender
	last      ctIndex
	lastDir   direction
	lastEnd   uint32
	simOpen   bool // SYNs crossed
	seenReply bool
	assured   bool
	expires   time.Duration
}

// ctSeen is what was seen from one end.
type ctSeen struct {
	end, maxEnd, maxWin uint32
	maxAck              uint32
	hasAck              bool
}

type direction uint8

const (
	original direction = iota
	reply
)

type ctState uint8

const (
	ctSynSent ctState = iota
	ctSynRecv
	ctEstablished
	ctClose
	ctSynSent2 // a SYN from either end
	ctIgnore   // let through without believing it
	ctInvalid
)

type ctIndex uint8

const (
	ctSYN ctIndex = iota
	ctSYNACK
	ctACK
	ctRST
	ctNone
)

// ctNext is the kernel's table: next state by direction, segment and state.
var ctNext = [2][4][5]ctState{
	original: {
		ctSYN:    {ctSynSent, ctIgnore, ctIgnore, ctSynSent, ctSynSent2},
		ctSYNACK: {ctInvalid, ctSynRecv, ctInvalid, ctInvalid, ctSynRecv},
		ctACK:    {ctInvalid, ctEstablished, ctEstablished, ctClose, ctInvalid},
		ctRST:    {ctClose, ctClose, ctClose, ctClose, ctClose},
	},
	reply: {
		ctSYN:    {ctSynSent2, ctInvalid, ctInvalid, ctInvalid, ctSynSent2},
		ctSYNACK: {ctSynRecv, ctIgnore, ctIgnore, ctIgnore, ctSynRecv},
		ctACK:    {ctIgnore, ctSynRecv, ctEstablished, ctClose, ctIgnore},
		ctRST:    {ctClose, ctClose, ctClose, ctClose, ctClose},
	},
}

// ctRules are what a router's owner may set.
type ctRules struct {
	timeout [5]time.Duration // by state
	liberal bool             // nf_conntrack_tcp_be_liberal
}

// ctDefaults are the kernel's.
var ctDefaults = ctRules{timeout: [...]time.Duration{
	ctSynSent:     120 * time.Second,
	ctSynRecv:     60 * time.Second,
	ctEstablished: 5 * 24 * time.Hour,
	ctClose:       10 * time.Second,
	ctSynSent2:    120 * time.Second,
}}

// rulesOf are the rules of a profile.
func rulesOf(p Profile) *ctRules {
	r := ctDefaults
	r.liberal = p.Tracking == Liberal
	r.timeout[ctSynSent] = cmp.Or(p.SynSent, r.timeout[ctSynSent])
	r.timeout[ctEstablished] = cmp.Or(p.Established, r.timeout[ctEstablished])
	return &r
}

// verdict is what becomes of a segment.
type verdict uint8

const (
	ctAccept verdict = iota
	ctReject         // INVALID: not translated
	ctKilled         // accepted, and the entry is gone
	ctRepeat         // the entry is gone: look the segment up anew
)

func ctIndexOf(s *segment) ctIndex {
	switch {
	case s.flags&rst != 0:
		return ctRST
	case s.flags&(syn|ack) == syn|ack:
		return ctSYNACK
	case s.flags&syn != 0:
		return ctSYN
	case s.flags&ack != 0:
		return ctACK
	}
	return ctNone
}

// newConntrack makes the entry of a segment that belongs to none, or nil if it
// makes none: only a SYN does, and (loose) an ACK in the middle.
func newConntrack(now time.Duration, s *segment, rules *ctRules) *conntrack {
	c := &conntrack{rules: rules, last: ctNone, seen: [2]ctSeen{{end: s.end(), maxEnd: s.end(), maxWin: window}}}
	switch ctIndexOf(s) {
	case ctSYN:
		c.state = ctSynSent
	case ctACK:
		c.state, c.seen[original].maxEnd = ctEstablished, s.end()+window
	default:
		return nil
	}
	c.expires = now + c.rules.timeout[c.state]
	c.last = ctIndexOf(s)
	return c
}

// track judges a segment of the entry.
func (c *conntrack) track(now time.Duration, dir direction, s *segment) verdict {
	index := ctIndexOf(s)
	if index == ctNone {
		return ctReject
	}
	next, check := ctNext[dir][index][c.state], true
	switch next {
	case ctInvalid:
		return ctReject
	case ctSynSent:
		if c.state == ctClose {
			if c.lastDir == dir && c.last == ctRST {
				return ctRepeat
			}
			return c.ignore(dir, index, s)
		}
	case ctIgnore:
		if !c.resynchronises(dir, index, s) {
			return c.ignore(dir, index, s)
		}
		next = ctSynRecv
	case ctSynSent2:
		c.simOpen = true
	case ctSynRecv:
		if dir == reply && index == ctACK && c.simOpen {
			next = ctEstablished
		}
	case ctClose:
		if index == ctRST {
			var ok bool
			if next, check, ok = c.reset(dir, s); !ok {
				return ctReject
			}
		}
	}
	if check {
		switch c.window(dir, s) {
		case above:
			return ctReject
		case below:
			return ctAccept
		}
	}
	return c.become(now, next, dir, index)
}

// become enters the next state.
func (c *conntrack) become(now time.Duration, next ctState, dir direction, index ctIndex) verdict {
	old := c.state
	c.last, c.lastDir, c.state = index, dir, next
	if !c.seenReply && index == ctRST {
		return ctKilled // LINUX-TCP.md, 12
	}
	if c.seenReply && next == ctEstablished && (old == ctSynRecv || old == ctEstablished) {
		c.assured = true
	}
	c.expires = now + c.rules.timeout[next]
	if index == ctRST {
		c.expires = now + c.rules.timeout[ctClose]
	}
	c.seenReply = c.seenReply || dir == reply
	return ctAccept
}

// ignore lets a segment through and notes it.
func (c *conntrack) ignore(dir direction, index ctIndex, s *segment) verdict {
	c.last, c.lastDir, c.lastEnd = index, dir, s.end()
	c.seenReply = c.seenReply || dir == reply
	return ctAccept
}

// resynchronises reports whether a SYN-ACK answers a SYN that was ignored: then
// both ends know more than the entry, which learns from them.
func (c *conntrack) resynchronises(dir direction, index ctIndex, s *segment) bool {
	if index != ctSYNACK || c.last != ctSYN || c.lastDir == dir || s.ack != c.lastEnd {
		return false
	}
	c.state = ctSynSent
	c.seen[c.lastDir] = ctSeen{end: c.lastEnd, maxEnd: c.lastEnd, maxWin: window}
	c.seen[dir] = ctSeen{}
	return true
}

// reset judges a RST: the next state, whether its window is to be checked, and
// whether it is believed at all.
func (c *conntrack) reset(dir direction, s *segment) (next ctState, check, ok bool) {
	next = ctClose
	if peer := &c.seen[1-dir]; peer.hasAck {
		if before(s.seq, peer.maxAck) {
			return 0, false, false
		}
		if c.state != ctEstablished || !c.assured || s.seq == peer.maxAck {
			return next, true, true
		}
		next = c.state
	}
	let := c.seenReply && c.last == ctSYN || !c.assured && c.last == ctACK
	return next, !(let && s.ack == c.lastEnd), true
}

// position is where a segment is to what an entry expects.
type position uint8

const (
	inside position = iota
	above           // not believed
	below           // overly delayed: let through, and nothing is learned from it
)

// window is the kernel's tcp_in_window: it judges the sequence numbers of a
// segment and learns from them.
func (c *conntrack) window(dir direction, s *segment) position {
	sender, receiver := &c.seen[dir], &c.seen[1-dir]
	seq, acked, end := s.seq, s.ack, s.end()
	switch {
	case sender.maxWin == 0 && s.flags&syn != 0:
		*sender = ctSeen{end: end, maxEnd: end, maxWin: window}
		if s.flags&ack == 0 {
			return inside // simultaneous open
		}
	case sender.maxWin == 0:
		*sender = ctSeen{end: end, maxEnd: end + window, maxWin: window}
	case s.flags&syn != 0 && after(end, sender.end) && (c.state == ctSynSent || c.state == ctSynRecv):
		// A new connection of the same two endpoints. LINUX-TCP.md, 4: not so
		// once SYNs have crossed, so a listener's SYN-ACK is INVALID then.
		*sender = ctSeen{end: end, maxEnd: end, maxWin: window}
		if dir == reply && s.flags&ack == 0 {
			return inside
		}
	}
	if s.flags&ack == 0 || s.flags&rst != 0 && s.ack == 0 {
		acked = receiver.end
	}
	if s.flags&rst != 0 && seq == 0 && c.state == ctSynSent {
		seq, end = sender.end, sender.end
	}
	switch {
	case c.rules.liberal:
	case !before(seq, sender.maxEnd+1), !before(acked, receiver.end+1):
		return above
	case receiver.maxWin != 0 && !after(end, sender.end-receiver.maxWin-1), !after(acked, receiver.end-66000-1):
		return below
	}
	if after(end, sender.end) {
		sender.end = end
	}
	if s.flags&ack != 0 && (!sender.hasAck || after(acked, sender.maxAck)) {
		sender.maxAck, sender.hasAck = acked, true
	}
	if after(acked+window, receiver.maxEnd-1) {
		receiver.maxEnd = acked + window
	}
	return inside
}
