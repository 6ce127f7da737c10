package sim

import (
	"net/netip"
	"time"

	"github.com/peerd/peerd/punch"
)

// host is a machine's TCP. Only the one local port has a listener.
type host struct {
	w         *world
	name      string
	addr      netip.AddrPort
	addr6     netip.AddrPort // the same port; the zero value is none
	send      func(segment)  // towards the NAT
	socks     map[tuple]*tcp
	listening bool
	anyPort   bool       // listening on all ports
	single    bool       // one socket at a time
	tracked   bool       // behind netfilter
	trapped   bool       // see Result
	stunned   bool       // likewise
	unheard   int        // dials that have ended, and the program does not know yet
	arrived   func(*tcp) // a connection is in the listener's queue
	isn       uint32     // the 4-tuple's part of initial sequence numbers
	syns      []time.Duration
	synsTo    []netip.AddrPort // of each
	most      int              // sockets at a time
}

// tuple is a 4-tuple without the host's own address.
type tuple struct {
	port   uint16
	remote netip.AddrPort
}

// tcp is a socket, or a half-open child of the listener.
type tcp struct {
	h          *host
	local      netip.AddrPort
	remote     netip.AddrPort
	brief      bool // repeats its SYN twice at most
	state      state
	child      bool // born by the listener
	iss, irs   uint32
	opened     time.Duration
	connected  time.Duration // when it was established
	minTTL     int           // of what is received, or quoted by an ICMP error
	timer      *timer
	tries      int
	greeted    time.Duration // when the newest SYN or SYN-ACK left
	rtt        time.Duration // of the handshake, by the timestamps (RFC 7323)
	sent       []byte        // at most one write
	acked      bool          // what was written has arrived
	received   []byte
	onOpen     func()
	onReceived func()
	onDead     func(error)
}

type state uint8

const (
	synSent state = iota
	synReceived
	established
	dead
)

const (
	window = 64240
	// minRTO is the kernel's TCP_RTO_MIN, on top of the round trip.
	minRTO = 200 * time.Millisecond
	// synackLife is when a half-open child is given up: five retransmissions.
	synackLife = 63 * time.Second
)

// synAgain is when the SYN of one connect is sent again, since the first one
// (LINUX-TCP.md, 8).
var synAgain = [...]time.Duration{1e9, 2e9, 3e9, 4e9, 5e9, 7e9, 11e9, 19.5e9, 35.7e9}

// newISN is a clock with a tick of 64 ns and an offset for the 4-tuple, so that
// a later connection's number is always the higher one (RFC 6528).
func (h *host) newISN() uint32 { return h.isn + uint32(h.w.now/64) }

func newHost(w *world, name string, addr netip.AddrPort, isn uint32) *host {
	return &host{w: w, name: name, addr: addr, socks: map[tuple]*tcp{}, isn: isn}
}

// connect sends a SYN, with a TTL if that is not 0. LINUX-TCP.md, 2: where the
// 4-tuple is in use it fails at once, without a packet.
func (h *host) connect(to netip.AddrPort, o punch.DialOptions) (*tcp, error) {
	return h.connectFrom(h.local(to, o), to, o.TTL, o.Brief)
}

func (h *host) connectFrom(local, to netip.AddrPort, ttl int, brief bool) (*tcp, error) {
	key := tuple{local.Port(), to}
	if h.socks[key] != nil || h.single && h.isUsed(local) {
		return nil, punch.ErrTupleInUse
	}
	t := &tcp{h: h, local: local, remote: to, brief: brief, state: synSent, iss: h.newISN(), opened: h.w.now}
	h.socks[key] = t
	h.most = max(h.most, len(h.socks))
	if ttl == 0 {
		t.transmitSYN(hostTTL)
	} else {
		t.minTTL = ttl + 1 // as in package reuse
		t.transmitSYN(ttl)
	}
	return t, nil
}

// isQuiet tells a quiet dial from a deaf one, whose SYN arrives.
func (t *tcp) isQuiet() bool { return 0 < t.minTTL && t.minTTL < 16 }

// local is the local endpoint of a dial.
func (h *host) local(to netip.AddrPort, o punch.DialOptions) netip.AddrPort {
	addr := h.addr
	if to.Addr().Is6() {
		addr = h.addr6
	}
	switch {
	case o.From != 0:
		return netip.AddrPortFrom(addr.Addr(), o.From)
	case o.Slot != 0:
		return netip.AddrPortFrom(addr.Addr(), uint16(32768+o.Slot))
	}
	return addr
}

// isUsed reports whether there is a socket on a local port.
func (h *host) isUsed(local netip.AddrPort) bool {
	for key := range h.socks {
		if key.port == local.Port() {
			return true
		}
	}
	return false
}

// transmitSYN repeats itself with the normal TTL.
func (t *tcp) transmitSYN(ttl int) {
	if t.state == synSent {
		t.greeted = t.h.w.now
		t.h.syns = append(t.h.syns, t.h.w.now)
		t.h.synsTo = append(t.h.synsTo, t.remote)
		t.h.send(segment{src: t.local, dst: t.remote, flags: syn, seq: t.iss, ttl: ttl})
	} else {
		t.emit(syn|ack, t.iss, nil)
	}
	if t.brief && t.tries == 2 && t.state == synSent {
		t.timer = t.h.w.at(t.opened+synAgain[2], func() { t.die(punch.ErrNoAnswer) })
		return
	}
	if t.tries == len(synAgain) {
		return
	}
	t.timer = t.h.w.at(t.opened+synAgain[t.tries], func() { t.transmitSYN(hostTTL) })
	t.tries++
}

// emit sends a segment of the connection.
func (t *tcp) emit(f flags, seq uint32, data []byte) {
	if f&syn != 0 {
		t.greeted = t.h.w.now
	}
	s := segment{src: t.local, dst: t.remote, flags: f, seq: seq, data: data, ttl: hostTTL}
	if f&ack != 0 {
		s.ack = t.receiveNext()
	}
	t.h.send(s)
}

func (t *tcp) receiveNext() uint32 { return t.irs + 1 + uint32(len(t.received)) }

func (t *tcp) sendNext() uint32 {
	if t.state < established {
		return t.iss + 1
	}
	return t.iss + 1 + uint32(len(t.sent))
}

// receive handles a segment that reached the host.
func (h *host) receive(s segment) {
	t := h.socks[tuple{s.dst.Port(), s.src}]
	switch {
	case s.icmp != noICMP:
		t.unreachable(s)
	case t != nil && s.ttl < t.minTTL:
	case t == nil && s.opens() && (s.dst.Port() == h.addr.Port() || h.anyPort):
		h.trapped = h.trapped || h.tracked
		h.stunned = h.stunned || h.tracked && h.unheard > 0
		h.listen(s)
	case t == nil:
		h.reset(s)
	case t.state == synSent:
		t.receiveSynSent(s)
	case t.child && t.state == synReceived:
		t.receiveHalfOpen(s)
	default:
		t.receiveSynchronised(s)
	}
}

func (h *host) reset(s segment) {
	if r, due := resetFor(s); due {
		h.send(r)
	}
}

// listen makes a half-open child. LINUX-TCP.md, 3: only where no socket of ours
// is connecting to the same place. 4: with a sequence number of its own.
func (h *host) listen(s segment) {
	if !h.listening {
		h.reset(s)
		return
	}
	t := &tcp{h: h, local: s.dst, remote: s.src, state: synReceived, child: true, iss: h.newISN(), irs: s.seq, opened: h.w.now}
	h.socks[tuple{s.dst.Port(), s.src}] = t
	t.transmitSYNACK()
}

// transmitSYNACK repeats after 1, 2, 4, 8 and 16 s; then the child is gone.
func (t *tcp) transmitSYNACK() {
	if t.h.w.now-t.opened >= synackLife {
		t.drop()
		return
	}
	t.emit(syn|ack, t.iss, nil)
	t.timer = t.h.w.after(time.Second<<t.tries, t.transmitSYNACK)
	t.tries++
}

// receiveSynSent is RFC 9293, 3.10.7.3.
func (t *tcp) receiveSynSent(s segment) {
	switch {
	case s.flags&(syn|ack) == ack && s.ack != t.iss+1 && t.isQuiet():
		// A quiet dial passes over what is left of earlier ones.
	case s.flags&ack != 0 && s.ack != t.iss+1:
		t.h.reset(s)
	case s.flags&rst != 0:
		if s.flags&ack != 0 {
			t.die(punch.ErrRefused) // LINUX-TCP.md, 7: final
		}
	case s.flags&syn == 0:
	case s.flags&ack != 0:
		t.irs = s.seq
		t.open()
		t.emit(ack, t.sendNext(), nil)
	default:
		// Simultaneous open. LINUX-TCP.md, 4: the SYN-ACK has the SYN's number.
		t.irs, t.state = s.seq, synReceived
		t.emit(syn|ack, t.iss, nil)
	}
}

// receiveHalfOpen is Linux's tcp_check_req.
func (t *tcp) receiveHalfOpen(s segment) {
	switch {
	case s.opens() && s.seq == t.irs:
		t.emit(syn|ack, t.iss, nil)
		return
	case s.flags&ack != 0 && s.ack != t.iss+1:
		t.h.reset(s)
		return
	case s.seq != t.irs && !t.inWindow(s.seq):
		if s.flags&rst == 0 {
			t.emit(ack, t.iss+1, nil)
		}
		return
	}
	fresh := s.seq != t.irs
	switch {
	case s.flags&rst != 0, fresh && s.flags&syn != 0:
		t.h.reset(s)
		t.drop()
	case s.flags&ack != 0:
		t.open()
		t.h.arrived(t)
		t.take(s)
	}
}

func (t *tcp) inWindow(seq uint32) bool { return seq-t.receiveNext() < window }

// receiveSynchronised handles SYN-RECEIVED of a simultaneous open, and
// ESTABLISHED.
func (t *tcp) receiveSynchronised(s segment) {
	switch {
	case s.flags&rst != 0:
		t.receiveReset(s)
	case t.state == synReceived && s.flags == syn|ack && s.seq == t.irs && s.ack == t.iss+1:
		t.open()
	case s.flags&syn != 0:
		t.emit(ack, t.sendNext(), nil) // RFC 5961, 4.2
	case s.flags&ack == 0:
	case t.state == synReceived && s.ack != t.iss+1:
		t.h.reset(s)
	default:
		if t.state == synReceived {
			t.open()
		}
		t.take(s)
	}
}

// receiveReset is RFC 5961, 3.2.
func (t *tcp) receiveReset(s segment) {
	switch {
	case s.seq != t.receiveNext():
		if t.inWindow(s.seq) {
			t.emit(ack, t.sendNext(), nil)
		}
	case t.state == synReceived:
		t.die(punch.ErrRefused)
	default:
		t.die(punch.ErrHungUp)
	}
}

// unreachable handles an ICMP error: final while connecting (LINUX-TCP.md, 7),
// ignored otherwise, and where it quotes a packet that had too few hops left.
func (t *tcp) unreachable(s segment) {
	if t != nil && !t.child && t.state < established && s.seq == t.iss && s.quoted >= t.minTTL {
		t.die(punch.ErrRefused)
	}
}

// open makes the connection established.
func (t *tcp) open() {
	t.rtt = t.h.w.now - t.greeted
	t.state, t.minTTL, t.connected = established, 0, t.h.w.now
	t.timer.stop()
	if t.onOpen != nil {
		t.onOpen()
	}
}

// take handles the acknowledgement and the data of a segment.
func (t *tcp) take(s segment) {
	if len(t.sent) > 0 && s.ack == t.sendNext() && !t.acked {
		t.acked = true
		t.timer.stop()
	}
	if len(s.data) == 0 {
		return
	}
	if s.seq == t.receiveNext() {
		t.received = append(t.received, s.data...)
		if t.onReceived != nil {
			t.onReceived()
		}
	}
	if t.state == established {
		t.emit(ack, t.sendNext(), nil)
	}
}

// write sends data; there is one write in a connection's life.
func (t *tcp) write(data []byte) {
	if t.state != established || t.sent != nil {
		return
	}
	t.sent, t.tries = data, 0
	t.transmitData()
}

func (t *tcp) transmitData() {
	t.emit(ack, t.iss+1, t.sent)
	rto := time.Second
	if t.rtt > 0 {
		rto = t.rtt + max(2*t.rtt, minRTO)
	}
	t.timer = t.h.w.after(rto<<t.tries, t.transmitData)
	t.tries++
}

// die ends the connection with an error.
func (t *tcp) die(err error) {
	t.drop()
	if t.onDead != nil {
		t.onDead(err)
	}
}

func (t *tcp) drop() {
	t.state = dead
	t.timer.stop()
	if key := (tuple{t.local.Port(), t.remote}); t.h.socks[key] == t {
		delete(t.h.socks, key)
	}
}

// close gives the socket up with SO_LINGER 0. LINUX-TCP.md, 5: in SYN_SENT it
// is silent, otherwise a RST leaves; the 4-tuple is free at once.
func (t *tcp) close() {
	if t.state == dead {
		return
	}
	if t.state != synSent {
		t.emit(rst|ack, t.sendNext(), nil)
	}
	t.drop()
}
