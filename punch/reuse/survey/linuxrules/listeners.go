package linuxrules

import (
	"net/netip"
	"strings"

	"github.com/peerd/peerd/punch/reuse/survey"
)

// someone is a peer's address.
var someone = netip.AddrPortFrom(addresses[survey.Loop4], secondListener)

// twoListeners is asked for one or two addresses, with the same options on both.
func twoListeners(v variant) string {
	first, second := newSocket(survey.Wild4, v.first), newSocket(survey.Wild4, v.second)
	how, pinned := strings.CutPrefix(v.how, "first pinned")
	first.pinned = pinned
	switch strings.TrimPrefix(how, ", ") {
	case "":
	case "wildcard then 127.0.0.1":
		second.local = addresses[survey.Loop4]
	case "127.0.0.1 then wildcard":
		first.local = addresses[survey.Loop4]
	default:
		return ""
	}
	return rivals(first, second, "second: ", "the second")
}

// hijack is asked for another process of the same user and of another, with the
// options of our listener and its, and with ours pinned.
func hijack(v variant) string {
	who, how, _ := strings.Cut(v.how, ", ")
	uid, known := map[string]int{"the same user": 0, "another user": 1}[who]
	if !known || how != "" && how != "ours pinned" {
		return ""
	}
	ours, theirs := newSocket(survey.Wild4, v.first), newSocket(survey.Wild4, v.second)
	ours.pinned, theirs.uid = how != "", uid
	return rivals(ours, theirs, "it: ", "it")
}

// rivals makes a listener and then another one, and says what becomes of the
// other.
func rivals(first, second *socket, complains, name string) string {
	var p port
	for _, sk := range []*socket{first, second} {
		if err := p.bindTCP(sk); err != ok {
			return complains + "bind " + err
		}
		if err := p.listenTCP(sk); err != ok {
			return complains + "listen " + err
		}
	}
	return shareOf(p.receivers(someone, addresses[survey.Loop4]), first, second, name)
}

// meetings are what a port may have when a peer dials it: a listener, and a
// socket in SYN_SENT to that peer or another.
var meetings = map[string]struct{ listener, dialer, stranger bool }{
	"SYN_SENT to it and a listener":           {listener: true, dialer: true},
	"SYN_SENT to it without a listener":       {dialer: true},
	"a listener without SYN_SENT":             {listener: true},
	"a listener and SYN_SENT to another peer": {listener: true, dialer: true, stranger: true},
	"neither": {},
}

func peersSYN(v variant) string {
	m, known := meetings[v.how]
	if !known {
		return ""
	}
	var p port
	if m.listener {
		listener("listener", survey.Both)(&p)
	}
	switch {
	case m.dialer && m.stranger:
		dialer("dialer", survey.Both, firstListener)(&p)
	case m.dialer:
		dialer("dialer", survey.Both, secondListener)(&p)
	}
	got := p.receivers(someone, addresses[survey.Loop4])
	switch {
	case len(got) == 0:
		return "nobody gets it; the peer: connect ECONNREFUSED" // tcp_v4_send_reset
	case got[0].state == listening:
		return "the listener gets it"
	}
	return "the SYN_SENT socket gets it" // tcp_rcv_synsent_state_process
}
