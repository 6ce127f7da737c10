package linuxrules

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/peerd/peerd/punch/reuse/survey"
)

// addresses stand for those of the host. Only which of them are the same, and
// which are wildcards, matters to the rules.
var addresses = map[survey.Address]netip.Addr{
	survey.Wild4:     netip.IPv4Unspecified(),
	survey.Loop4:     netip.AddrFrom4([4]byte{127, 0, 0, 1}),
	survey.Specific4: netip.AddrFrom4([4]byte{192, 0, 2, 1}),
	survey.Wild6:     netip.IPv6Unspecified(),
	survey.Loop6:     netip.IPv6Loopback(),
	survey.Specific6: netip.MustParseAddr("2001:db8::1"),
	survey.WildDual:  netip.IPv6Unspecified(),
	survey.Group4:    netip.MustParseAddr("239.255.0.1"),
	survey.Group6:    netip.MustParseAddr("ff15::1"),
}

// newSocket returns a socket of user 0 that is about to be bound. It is given
// IPV6_V6ONLY where the survey sets it (net.ipv6.bindv6only is 0).
func newSocket(a survey.Address, o survey.Options) *socket {
	return &socket{
		ipv6:      a.Is6(),
		local:     addresses[a],
		only6:     a == survey.Wild6,
		reuse:     o&survey.Addr != 0,
		reusePort: o&survey.Port != 0,
	}
}

// Expect returns what the rules make of a case.
func Expect(c survey.Case) survey.Outcome {
	if c.UDP {
		return expectUDP(c)
	}
	return expectTCP(c)
}

func expectUDP(c survey.Case) survey.Outcome {
	var p port
	p.bindUDP(newSocket(c.First, c.FirstOptions))
	if err := p.bindUDP(newSocket(c.Second, c.SecondOptions)); err != ok {
		return survey.Outcome{Bind: err, Connect: survey.NotTried, Listen: survey.NotTried}
	}
	return survey.Outcome{Connect: connectUDP(), Listen: survey.NotTried}
}

func expectTCP(c survey.Case) survey.Outcome {
	var p port
	p.first(c)
	second := newSocket(c.Second, c.SecondOptions)
	if err := p.bindTCP(second); err != ok {
		return survey.Outcome{Bind: err, Connect: survey.NotTried, Listen: survey.NotTried}
	}
	out := survey.Outcome{Connect: p.connectFrom(second, c.Second, secondListener)}
	p.remove(second)
	out.Listen = p.third(c)
	return out
}

// first binds the first socket of a case and brings it to its state.
func (p *port) first(c survey.Case) {
	sk := newSocket(c.First, c.FirstOptions)
	p.bindTCP(sk)
	switch c.State {
	case survey.Listening:
		p.listenTCP(sk)
	case survey.Connected:
		p.connectFrom(sk, c.First, firstListener)
	}
}

// third binds the socket that comes in place of the second, and makes it a
// listener.
func (p *port) third(c survey.Case) string {
	sk := newSocket(c.Second, c.SecondOptions)
	if err := p.bindTCP(sk); err != ok {
		return "bind " + err
	}
	return p.listenTCP(sk)
}

// Ports of the listeners that a survey connects to: each socket has its own.
const (
	firstListener  = 1
	secondListener = 2
)

// connectFrom connects to a listener on the socket's own address, on loopback
// for wildcards.
func (p *port) connectFrom(sk *socket, a survey.Address, number uint16) string {
	own := addresses[a]
	switch {
	case own.IsUnspecified() && own.Is4():
		own = addresses[survey.Loop4]
	case own.IsUnspecified():
		own = addresses[survey.Loop6]
	}
	return p.connectTCP(sk, own, netip.AddrPortFrom(own, number))
}

// Rows returns what a survey finds, by the rules, on a machine that has every
// kind of address.
func Rows() (rows []survey.Row) {
	for _, state := range []survey.State{survey.Bound, survey.Listening, survey.Connected} {
		rows = appendPairs(rows, survey.Case{State: state})
	}
	return appendPairs(rows, survey.Case{UDP: true})
}

func appendPairs(rows []survey.Row, c survey.Case) []survey.Row {
	for c.First = survey.Wild4; c.First <= survey.Group6; c.First++ {
		for c.Second = survey.Wild4; c.Second <= survey.Group6; c.Second++ {
			if c.UDP || !c.First.IsGroup() && !c.Second.IsGroup() {
				rows = appendOptions(rows, c)
			}
		}
	}
	return rows
}

func appendOptions(rows []survey.Row, c survey.Case) []survey.Row {
	for c.FirstOptions = survey.None; c.FirstOptions <= survey.Both; c.FirstOptions++ {
		for c.SecondOptions = survey.None; c.SecondOptions <= survey.Both; c.SecondOptions++ {
			rows = append(rows, survey.Row{Case: c, Outcome: Expect(c)})
		}
	}
	return rows
}

// A Difference is a row of a survey that is not as the rules say.
type Difference struct {
	survey.Row
	Want survey.Outcome
}

// String names the cell in one line: the case, what was seen and what the rules
// say.
func (d Difference) String() string {
	return fmt.Sprintf("%v: %s; by the kernel's rules %s", d.Case, describe(d.Outcome), describe(d.Want))
}

func describe(o survey.Outcome) string {
	if o.First != "" {
		return "first socket: " + o.First
	}
	return fmt.Sprintf("bind %s, connect %s, listen %s", orOK(o.Bind), orOK(o.Connect), orOK(o.Listen))
}

func orOK(errno string) string {
	if errno == ok {
		return "ok"
	}
	return errno
}

// Differ returns the rows that are not as the rules say, in their order.
func Differ(rows []survey.Row) (differ []Difference) {
	for _, row := range rows {
		if want := Expect(row.Case); row.Outcome != want {
			differ = append(differ, Difference{row, want})
		}
	}
	return differ
}

// Check tries every case of this machine once, compares what happened with the
// rules, and returns how many cells it compared.
func Check(ctx context.Context, h *survey.Host) (cells int, differ []Difference, err error) {
	rows, err := h.TryAll(ctx)
	return len(rows), Differ(rows), err
}
