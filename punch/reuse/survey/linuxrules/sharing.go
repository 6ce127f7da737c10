package linuxrules

import (
	"net/netip"

	"github.com/peerd/peerd/punch/reuse/survey"
)

// bothWork is what a survey says of two sockets that share a port.
const bothWork = "both work"

// A step makes a socket of a port, and returns what went wrong as a survey says
// it: who it was, the system call and the errno.
type step func(*port) string

// inTurn returns what the first step that fails says, or else result.
func inTurn(result string, steps ...step) string {
	var p port
	for _, s := range steps {
		if said := s(&p); said != ok {
			return said
		}
	}
	return result
}

// said is what a survey says of a system call that failed.
func said(who, call, errno string) string {
	if errno == ok {
		return ok
	}
	return who + ": " + call + " " + errno
}

// binds makes a socket on 0.0.0.0.
func (p *port) binds(who string, o survey.Options) (*socket, string) {
	sk := newSocket(survey.Wild4, o)
	return sk, said(who, "bind", p.bindTCP(sk))
}

// listener is a step that makes a listener on 0.0.0.0.
func listener(who string, o survey.Options) step {
	return func(p *port) string {
		sk, problem := p.binds(who, o)
		if problem == ok {
			problem = said(who, "listen", p.listenTCP(sk))
		}
		return problem
	}
}

// dialer is a step that connects a socket from 0.0.0.0 to a peer.
func dialer(who string, o survey.Options, peer uint16) step {
	return func(p *port) string {
		sk, problem := p.binds(who, o)
		if problem == ok {
			problem = said(who, "connect", p.connectFrom(sk, survey.Wild4, peer))
		}
		return problem
	}
}

// leaves is a step after which there is a connection of the port on loopback, or
// what is left of one. It has the options of the socket that made it, or of the
// listener that accepted it (inet_csk_clone_lock), and its port
// (__inet_inherit_port).
func leaves(o survey.Options, in state) step {
	return func(p *port) string {
		sk := newSocket(survey.Loop4, o)
		sk.state, sk.peer = in, netip.AddrPortFrom(sk.local, firstListener)
		p.add(sk)
		return ok
	}
}

func listenerPlusDialer(v variant) string {
	l, d := listener("listener", v.first), dialer("dialer", v.second, firstListener)
	switch v.how {
	case "listener first":
		return inTurn(bothWork, l, d)
	case "dialer first":
		return inTurn(bothWork, d, l)
	}
	return ""
}

func twoDialers(v variant) string {
	return inTurn(bothWork, dialer("first", v.first, firstListener), dialer("second", v.second, secondListener))
}

func listenAgain(v variant) string {
	return inTurn("works", leaves(v.first, established), listener("second", v.second))
}

// sameTuple4 is the second of two connects to one peer, both with both options.
// The first is in the established hash from connect on, and an accepted one as
// well; closing it in SYN_SENT takes it out.
func sameTuple4(v variant) string {
	const result = "second: connects"
	first, second := dialer("first", survey.Both, firstListener), dialer("second", survey.Both, firstListener)
	switch v.how {
	case "first connecting", "first connected", "first accepted by a listener of the port":
		return inTurn(result, first, second)
	case "first connecting and closed":
		return inTurn(result, second)
	}
	return ""
}
