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
	switch v.how {
	case "first pinned":
		first.pinned = true
	case "wildcard then 127.0.0.1":
		second = newSocket(survey.Loop4, v.second)
	case "127.0.0.1 then wildcard":
		first = newSocket(survey.Loop4, v.first)
	}
	return rivals(first, second, "second: ", "the second")
}

// hijack is asked for another process of the same user and of another, with the
// options of our listener and its, and with ours pinned.
func hijack(v variant) string {
	ours, theirs := newSocket(survey.Wild4, v.first), newSocket(survey.Wild4, v.second)
	ours.pinned = strings.HasSuffix(v.how, "ours pinned")
	if strings.HasPrefix(v.how, "another user") {
		theirs.uid = ours.uid + 1
	}
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

// peersSYN is asked for a port that may have a listener, and a socket in
// SYN_SENT to the peer that dials, or to another one.
func peersSYN(v variant) string {
	var p port
	wild, loop := newSocket(survey.Wild4, survey.Both), addresses[survey.Loop4]
	dial := newSocket(survey.Wild4, survey.Both)
	if strings.Contains(v.how, "a listener") {
		p.bindTCP(wild)
		p.listenTCP(wild)
	}
	switch peer := someone; {
	case strings.Contains(v.how, "SYN_SENT to another"):
		peer = netip.AddrPortFrom(loop, firstListener)
		fallthrough
	case strings.Contains(v.how, "SYN_SENT to it"):
		p.bindTCP(dial)
		p.connectTCP(dial, loop, peer)
	}
	switch got := p.receivers(someone, loop); {
	case len(got) == 0:
		return "nobody gets it; the peer: connect ECONNREFUSED" // tcp_v4_send_reset
	case got[0] == dial:
		return "the SYN_SENT socket gets it" // tcp_rcv_synsent_state_process
	}
	return "the listener gets it"
}
