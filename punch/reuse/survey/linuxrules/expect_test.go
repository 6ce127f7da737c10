package linuxrules

import (
	"strings"
	"testing"

	"github.com/peerd/peerd/punch/reuse/survey"
)

// TestExpect states some of what the rules come to, for a reader and against
// slips: what the notes on the subject dispute, and what peerd stands on.
func TestExpect(t *testing.T) {
	const inUse = "bind EADDRINUSE, connect -, listen -"
	for _, c := range []struct {
		name string
		survey.Case
		want string
	}{
		{"two dialers of one port", tcp(survey.Bound, survey.Wild4, survey.Both, survey.Wild4, survey.Both), "ok ok ok"},
		{"SO_REUSEADDR alone, nobody listens", tcp(survey.Bound, survey.Wild4, survey.Addr, survey.Wild4, survey.Addr), "ok ok ok"},
		{"SO_REUSEADDR alone, a listener", tcp(survey.Listening, survey.Wild4, survey.Addr, survey.Wild4, survey.Addr), inUse},
		{"SO_REUSEADDR on the second only", tcp(survey.Bound, survey.Wild4, survey.None, survey.Wild4, survey.Addr), inUse},
		{"one option each", tcp(survey.Bound, survey.Wild4, survey.Addr, survey.Wild4, survey.Port), inUse},
		{"dialer beside a listener", tcp(survey.Listening, survey.Wild4, survey.Both, survey.Loop4, survey.Port), "ok ok ok"},
		{"specific, then wildcard", tcp(survey.Bound, survey.Loop4, survey.None, survey.Wild4, survey.None), inUse},
		{"two specific ones", tcp(survey.Listening, survey.Loop4, survey.None, survey.Specific4, survey.None), "ok ok ok"},
		{"the families are apart", tcp(survey.Listening, survey.Wild4, survey.None, survey.Wild6, survey.None), "ok ok ok"},
		{"but not from a dual wildcard", tcp(survey.Bound, survey.WildDual, survey.None, survey.Loop4, survey.None), inUse},
		{"a connection is bound to one address", tcp(survey.Connected, survey.Wild4, survey.None, survey.Specific4, survey.None), "ok ok ok"},
		{"even one over IPv6 is in the way of 0.0.0.0", tcp(survey.Connected, survey.WildDual, survey.None, survey.Wild4, survey.None), inUse},
		{"though not of 127.0.0.1", tcp(survey.Connected, survey.WildDual, survey.None, survey.Loop4, survey.None), "ok ok ok"},
		{"one UDP port, SO_REUSEADDR", udp(survey.Wild4, survey.Addr, survey.Wild4, survey.Addr), "ok ok -"},
		{"one UDP port, one option each", udp(survey.Wild4, survey.Addr, survey.Wild4, survey.Port), inUse},
		{"a group and its family's wildcard", udp(survey.Group6, survey.None, survey.WildDual, survey.None), inUse},
		{"a group and a host's address", udp(survey.Group4, survey.None, survey.Loop4, survey.None), "ok ok -"},
	} {
		want := c.want
		if steps := strings.Fields(want); len(steps) == 3 {
			want = "bind " + steps[0] + ", connect " + steps[1] + ", listen " + steps[2]
		}
		if got := describe(Expect(c.Case)); got != want {
			t.Errorf("%s: %v: %s, want %s", c.name, c.Case, got, want)
		}
	}
}

func tcp(state survey.State, first survey.Address, with survey.Options, second survey.Address, and survey.Options) survey.Case {
	return survey.Case{State: state, First: first, FirstOptions: with, Second: second, SecondOptions: and}
}

func udp(first survey.Address, with survey.Options, second survey.Address, and survey.Options) survey.Case {
	return survey.Case{UDP: true, First: first, FirstOptions: with, Second: second, SecondOptions: and}
}

// TestOrder: which of two sockets binds first does not matter, as long as both
// only bind.
func TestOrder(t *testing.T) {
	for _, row := range Rows() {
		c := row.Case
		swapped := c
		swapped.First, swapped.Second = c.Second, c.First
		swapped.FirstOptions, swapped.SecondOptions = c.SecondOptions, c.FirstOptions
		if other := Expect(swapped).Bind; c.State == survey.Bound && row.Outcome.Bind != other {
			t.Errorf("%v: %s, but %s in the other order", c, orOK(row.Outcome.Bind), orOK(other))
		}
	}
}

// TestDiffer shows that a wrong cell is named, with both outcomes.
func TestDiffer(t *testing.T) {
	c := tcp(survey.Listening, survey.Wild4, survey.Addr, survey.Loop4, survey.Port)
	rows := []survey.Row{{Case: c, Outcome: Expect(c)}, {Case: c}}
	differ := Differ(rows)
	if len(differ) != 1 {
		t.Fatalf("%d of 2 rows differ, want the second", len(differ))
	}
	const want = "tcp listening wild4/A then loop4/P: bind ok, connect ok, listen ok; " +
		"by the kernel's rules bind EADDRINUSE, connect -, listen -"
	if got := differ[0].String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestUsers states what hangs on whose the sockets are. It takes root to see it;
// the survey's hijack rows show the part about listeners.
func TestUsers(t *testing.T) {
	for _, c := range []struct {
		name string
		bind func(*port, *socket) string
		with survey.Options
		in   state
		want string
	}{
		{"SO_REUSEPORT is for one user", (*port).bindTCP, survey.Port, closed, addrInUse},
		{"but not what is left of a connection", (*port).bindTCP, survey.Port, timeWait, ok},
		{"SO_REUSEADDR is for all", (*port).bindTCP, survey.Addr, closed, ok},
		{"not beside a listener", (*port).bindTCP, survey.Addr, listening, addrInUse},
		{"UDP, SO_REUSEPORT", (*port).bindUDP, survey.Port, closed, addrInUse},
		{"UDP, SO_REUSEADDR", (*port).bindUDP, survey.Addr, closed, ok},
	} {
		var p port
		first, second := newSocket(survey.Loop4, c.with), newSocket(survey.Loop4, c.with)
		second.uid = first.uid + 1
		c.bind(&p, first)
		if first.state = c.in; c.in == listening {
			p.listenTCP(first)
		}
		if got := c.bind(&p, second); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, orOK(got), orOK(c.want))
		}
	}
}

// TestPinnedNewcomer: a socket with a program of its own founds a group, and
// joins none by SO_REUSEPORT.
func TestPinnedNewcomer(t *testing.T) {
	for with, want := range map[survey.Options]string{survey.Port: addrInUse, survey.Both: ok} {
		var p port
		p.bindTCP(newSocket(survey.Wild4, with))
		pinned := newSocket(survey.Wild4, with)
		pinned.pinned = true
		if got := p.bindTCP(pinned); got != want {
			t.Errorf("%v: %s, want %s", with, orOK(got), orOK(want))
		}
	}
}

// TestTimestamps: a TIME_WAIT without them keeps its 4-tuple. It was seen with
// net.ipv4.tcp_timestamps=0 in a network namespace.
func TestTimestamps(t *testing.T) {
	for noStamps, want := range map[bool]string{false: ok, true: addrNotAvail} {
		var p port
		leaves(survey.Both, timeWait)(&p)
		p.sockets[0].noStamps = noStamps
		sk := newSocket(survey.Wild4, survey.Both)
		p.bindTCP(sk)
		if got := p.connectFrom(sk, survey.Wild4, firstListener); got != want {
			t.Errorf("without timestamps %v: %s, want %s", noStamps, orOK(got), orOK(want))
		}
	}
}
