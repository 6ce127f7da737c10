package sim

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerd/peerd/punch"
)

// script is two hosts with a line between them that shows every segment, as in
// "0 A SYN", and the milliseconds at which it left.
type script struct {
	t    *testing.T
	w    *world
	a, b *host
	// cut loses what it returns true for.
	cut    func(from string, s segment) bool
	seen   []string
	errs   map[string]error
	opened []string
}

const oneWay = 10 * time.Millisecond

func newScript(t *testing.T) *script {
	s := &script{t: t, w: &world{}, errs: map[string]error{}}
	s.a, s.b = s.host("A", "192.0.2.1:1000", 100), s.host("B", "192.0.2.2:2000", 5000)
	s.a.send, s.b.send = s.line(s.a, s.b), s.line(s.b, s.a)
	return s
}

func (s *script) host(name, addr string, isn uint32) *host {
	h := &host{w: s.w, name: name, addr: netip.MustParseAddrPort(addr), socks: map[tuple]*tcp{}, isn: isn}
	h.arrived = func(*tcp) { s.opened = append(s.opened, name+" listener") }
	return h
}

func (s *script) line(from, to *host) func(segment) {
	return func(seg segment) {
		what := [...]string{0: "none", syn: "SYN", ack: "ACK", syn | ack: "SYN-ACK", rst: "RST", rst | ack: "RST-ACK"}[seg.flags]
		if seg.icmp != noICMP {
			what = "ICMP"
		} else if len(seg.data) > 0 {
			what = "data"
		}
		if seg.ttl < hostTTL {
			what += fmt.Sprintf(" ttl %d", seg.ttl)
		}
		s.seen = append(s.seen, fmt.Sprintf("%d %s %s", s.w.now/time.Millisecond, from.name, what))
		if s.cut == nil || !s.cut(from.name, seg) {
			s.w.after(oneWay, func() { to.receive(seg) })
		}
	}
}

// dial connects one host to the other, and notes what comes of it.
func (s *script) dial(from *host) *tcp { return s.dialTTL(from, 0) }

func (s *script) dialTTL(from *host, ttl int) *tcp {
	to := s.a
	if from == s.a {
		to = s.b
	}
	c, err := from.connect(to.addr, punch.DialOptions{TTL: ttl})
	if err != nil {
		s.errs[from.name] = err
		return nil
	}
	c.onOpen = func() { s.opened = append(s.opened, from.name) }
	c.onDead = func(err error) { s.errs[from.name] = err }
	return c
}

// run lets time pass.
func (s *script) run(d time.Duration) {
	end := s.w.now + d
	s.w.run(end, func() bool { return false })
	s.w.now = end
}

func (s *script) want(lines ...string) {
	s.t.Helper()
	if !slices.Equal(s.seen, lines) {
		s.t.Errorf("on the line:\n  %s\nwant:\n  %s", strings.Join(s.seen, "\n  "), strings.Join(lines, "\n  "))
	}
}

func (s *script) wantErr(name string, want error) {
	s.t.Helper()
	if !errors.Is(s.errs[name], want) {
		s.t.Errorf("%s ended with %v, want %v", name, s.errs[name], want)
	}
}

func (s *script) wantOpen(names ...string) {
	s.t.Helper()
	if !slices.Equal(s.opened, names) {
		s.t.Errorf("open: %q, want %q", s.opened, names)
	}
}

func TestRule2SecondDialFindsTupleInUseAtOnceAndWithoutAPacket(t *testing.T) {
	s := newScript(t)
	s.dial(s.a)
	s.dial(s.a)
	s.wantErr("A", punch.ErrTupleInUse)
	s.want("0 A SYN")
}

func TestRule3ConnectingSocketGetsThePeersSYNBeforeTheListener(t *testing.T) {
	s := newScript(t)
	s.a.listening, s.b.listening = true, true
	s.dial(s.a)
	s.dial(s.b)
	s.run(time.Second / 2)
	s.want("0 A SYN", "0 B SYN", "10 B SYN-ACK", "10 A SYN-ACK")
	s.wantOpen("A", "B")
}

func TestRule3ListenerAnswersBetweenDials(t *testing.T) {
	s := newScript(t)
	s.b.listening = true
	s.dial(s.a)
	s.run(time.Second / 2)
	s.want("0 A SYN", "10 B SYN-ACK", "20 A ACK")
	s.wantOpen("A", "B listener")
}

func TestRule4SequenceNumbers(t *testing.T) {
	s := newScript(t)
	s.b.listening = true
	var simultaneous, listener []segment
	collect := func(to *[]segment) func(string, segment) bool {
		return func(_ string, g segment) bool { *to = append(*to, g); return false }
	}
	s.cut = collect(&simultaneous)
	a := s.dial(s.a)
	s.dial(s.b)
	s.run(time.Second / 2)
	for _, g := range simultaneous {
		if g.flags == syn|ack && g.src == s.a.addr && g.seq != a.iss {
			t.Errorf("the SYN-ACK of a simultaneous open has seq %d, the SYN %d", g.seq, a.iss)
		}
	}
	s = newScript(t)
	s.b.listening = true
	s.cut = collect(&listener)
	s.w.now = time.Second
	first := s.b.newISN()
	s.w.now += time.Millisecond
	s.dial(s.a)
	s.run(time.Second / 2)
	for _, g := range listener {
		if g.flags == syn|ack && !after(g.seq, first) {
			t.Errorf("the listener's SYN-ACK has seq %d, an earlier SYN %d", g.seq, first)
		}
	}
}

func TestRule5ClosingInSynSentIsSilentAndFreesTheTuple(t *testing.T) {
	s := newScript(t)
	s.dial(s.a).close()
	if s.dial(s.a) == nil {
		t.Error("the 4-tuple is still in use")
	}
	s.run(5 * time.Millisecond)
	s.want("0 A SYN", "0 A SYN")
}

func TestRule5ClosingInSynReceivedSendsARST(t *testing.T) {
	s := newScript(t)
	s.cut = func(_ string, g segment) bool { return g.flags == syn|ack }
	a := s.dial(s.a)
	s.dial(s.b)
	s.run(15 * time.Millisecond)
	s.w.at(15*time.Millisecond, a.close)
	s.run(20 * time.Millisecond)
	s.want("0 A SYN", "0 B SYN", "10 B SYN-ACK", "10 A SYN-ACK", "15 A RST-ACK")
	s.wantErr("B", punch.ErrRefused)
}

func TestRule6HalfOpenChildKeepsTheTupleInUse(t *testing.T) {
	s := newScript(t)
	s.b.listening = true
	s.cut = func(from string, _ segment) bool { return from == "B" }
	s.dial(s.a).timer.stop()
	s.run(50 * time.Second)
	s.dial(s.b)
	s.wantErr("B", punch.ErrTupleInUse)
	s.want("0 A SYN", "10 B SYN-ACK", "1010 B SYN-ACK", "3010 B SYN-ACK", "7010 B SYN-ACK", "15010 B SYN-ACK", "31010 B SYN-ACK")
	s.run(20 * time.Second)
	if s.dial(s.b) == nil {
		t.Error("the child never goes")
	}
}

func TestRule7RSTIsFinal(t *testing.T) {
	s := newScript(t)
	s.dial(s.a)
	s.run(time.Second / 2)
	s.want("0 A SYN", "10 B RST-ACK")
	s.wantErr("A", punch.ErrRefused)
}

func TestRule7RSTForAnotherSYNIsIgnored(t *testing.T) {
	s := newScript(t)
	a := s.dial(s.a)
	s.a.receive(segment{src: s.b.addr, dst: s.a.addr, ttl: hostTTL, flags: rst | ack, ack: a.iss + 2})
	s.a.receive(segment{src: s.b.addr, dst: s.a.addr, ttl: hostTTL, flags: rst})
	if a.state != synSent {
		t.Error("believed a RST that does not acknowledge the SYN")
	}
}

func TestRule7ICMPIsFinalIfItQuotesTheSYN(t *testing.T) {
	s := newScript(t)
	a := s.dial(s.a)
	s.a.receive(segment{src: s.b.addr, dst: s.a.addr, icmp: portUnreachable, quoted: 62, seq: a.iss - 1})
	if a.state != synSent {
		t.Error("believed an ICMP error about another segment")
	}
	s.a.receive(segment{src: s.b.addr, dst: s.a.addr, icmp: timeExceeded, quoted: 62, seq: a.iss})
	s.wantErr("A", punch.ErrRefused)
}

// What a quiet dial is: package reuse's, with IP_MINTTL.
func TestQuietDialIgnoresWhatQuotesItFromAFewHopsAway(t *testing.T) {
	s := newScript(t)
	a := s.dialTTL(s.a, 2)
	for _, kind := range []icmp{timeExceeded, portUnreachable} {
		s.a.receive(segment{src: s.b.addr, dst: s.a.addr, icmp: kind, quoted: 1, seq: a.iss, ttl: 60})
	}
	s.a.receive(segment{src: s.b.addr, dst: s.a.addr, flags: rst | ack, ack: a.iss + 1, ttl: 2})
	if a.state != synSent {
		t.Fatalf("ended with %v", s.errs)
	}
	s.a.receive(segment{src: s.b.addr, dst: s.a.addr, icmp: portUnreachable, quoted: 3, seq: a.iss, ttl: 60})
	s.wantErr("A", punch.ErrRefused)
}

// What package reuse's filter drops: the answer would have the kernel repeat the
// SYN, with the normal TTL.
func TestQuietDialPassesOverAnEarlierConnection(t *testing.T) {
	s := newScript(t)
	a := s.dialTTL(s.a, 2)
	for _, f := range []flags{ack, rst | ack} {
		s.a.receive(segment{src: s.b.addr, dst: s.a.addr, ttl: hostTTL, flags: f, seq: 7, ack: a.iss - 9})
	}
	s.want("0 A SYN ttl 2")
}

// A deaf dial's SYN arrives, and what arrives with no more TTL than that is not
// taken in: ICMP errors by what they quote, and the SYN of another deaf one.
func TestDeafDialIsEndedByNoICMPError(t *testing.T) {
	s := newScript(t)
	a := s.dialTTL(s.a, 32)
	s.a.receive(segment{src: s.b.addr, dst: s.a.addr, icmp: portUnreachable, quoted: 32, seq: a.iss, ttl: 60})
	s.a.receive(segment{src: s.b.addr, dst: s.a.addr, flags: syn, seq: 7, ttl: 32})
	if a.state != synSent {
		t.Fatalf("in state %v, errors %v", a.state, s.errs)
	}
	s.a.receive(segment{src: s.b.addr, dst: s.a.addr, flags: syn, seq: 7, ttl: 33})
	if a.state != synReceived {
		t.Errorf("in state %v after a SYN", a.state)
	}
}

func TestQuietDialBelievesARST(t *testing.T) {
	s := newScript(t)
	s.dialTTL(s.a, 2)
	s.run(time.Second / 2)
	s.want("0 A SYN ttl 2", "10 B RST-ACK")
	s.wantErr("A", punch.ErrRefused)
}

func TestQuietDialIsRepeatedLoudly(t *testing.T) {
	s := newScript(t)
	s.cut = func(string, segment) bool { return true }
	s.dialTTL(s.a, 2)
	s.run(2500 * time.Millisecond)
	s.want("0 A SYN ttl 2", "1000 A SYN", "2000 A SYN")
}

func TestQuietDialAnswersThePeersSYN(t *testing.T) {
	s := newScript(t)
	s.cut = func(_ string, g segment) bool { return g.ttl < hostTTL }
	s.dialTTL(s.a, 2)
	s.run(100 * time.Millisecond)
	s.dial(s.b)
	s.run(100 * time.Millisecond)
	s.want("0 A SYN ttl 2", "100 B SYN", "110 A SYN-ACK", "120 B ACK")
	s.wantOpen("B", "A")
}

func TestUnacceptableACKInSynSentGetsARST(t *testing.T) {
	s := newScript(t)
	a := s.dial(s.a)
	s.a.receive(segment{src: s.b.addr, dst: s.a.addr, ttl: hostTTL, flags: syn | ack, seq: 7, ack: a.iss + 9})
	s.want("0 A SYN", "0 A RST")
	if a.state != synSent {
		t.Error("the dial ended")
	}
}

func TestRule8SYNsLeaveAt0And1And2And3And4And5And7And11And19(t *testing.T) {
	s := newScript(t)
	s.cut = func(string, segment) bool { return true }
	s.dial(s.a)
	s.run(30 * time.Second)
	s.want("0 A SYN", "1000 A SYN", "2000 A SYN", "3000 A SYN", "4000 A SYN", "5000 A SYN", "7000 A SYN", "11000 A SYN", "19500 A SYN")
}

func TestSimultaneousOpenSurvivesTheLossOfOneSYNACK(t *testing.T) {
	s := newScript(t)
	s.cut = func(from string, g segment) bool { return from == "A" && g.flags == syn|ack && s.w.now < time.Second }
	s.dial(s.a)
	s.dial(s.b)
	s.run(1500 * time.Millisecond)
	s.wantOpen("A", "B")
}

func TestDataIsSentAgainAndReceivedOnce(t *testing.T) {
	s := newScript(t)
	s.b.listening = true
	lost := 0
	s.cut = func(_ string, g segment) bool {
		if len(g.data) > 0 {
			lost++
		}
		return len(g.data) > 0 && lost == 1
	}
	a := s.dial(s.a)
	a.onOpen = func() { a.write([]byte("hello")) }
	s.run(2 * time.Second)
	// RTO: the round trip of 20 ms, and 200 ms.
	s.want("0 A SYN", "10 B SYN-ACK", "20 A data", "20 A ACK", "240 A data", "250 B ACK")
	if got := string(s.b.socks[tuple{s.b.addr.Port(), s.a.addr}].received); got != "hello" {
		t.Errorf("received %q", got)
	}
}

func TestRSTEndsAConnection(t *testing.T) {
	s := newScript(t)
	s.b.listening = true
	s.dial(s.a)
	s.run(100 * time.Millisecond)
	s.w.at(s.w.now, s.b.socks[tuple{s.b.addr.Port(), s.a.addr}].close)
	s.run(100 * time.Millisecond)
	s.wantErr("A", punch.ErrHungUp)
}

func TestRSTOutOfWindowIsChallenged(t *testing.T) {
	s := newScript(t)
	s.b.listening = true
	a := s.dial(s.a)
	s.run(100 * time.Millisecond)
	s.a.receive(segment{src: s.b.addr, dst: s.a.addr, ttl: hostTTL, flags: rst, seq: a.receiveNext() + 5})
	s.a.receive(segment{src: s.b.addr, dst: s.a.addr, ttl: hostTTL, flags: rst, seq: a.receiveNext() - 5})
	if a.state != established {
		t.Error("believed it")
	}
}

func TestHalfOpenChildEndsByAnotherSYNInItsWindow(t *testing.T) {
	s := newScript(t)
	s.b.listening = true
	s.b.receive(segment{src: s.a.addr, dst: s.b.addr, ttl: hostTTL, flags: syn, seq: 1})
	s.b.receive(segment{src: s.a.addr, dst: s.b.addr, ttl: hostTTL, flags: syn, seq: 1 << 20}) // challenged
	s.b.receive(segment{src: s.a.addr, dst: s.b.addr, ttl: hostTTL, flags: syn, seq: 100})
	s.want("0 B SYN-ACK", "0 B ACK", "0 B RST-ACK")
	if s.b.socks[tuple{s.b.addr.Port(), s.a.addr}] != nil {
		t.Error("the child is still there")
	}
}
