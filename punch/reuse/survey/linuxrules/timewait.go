package linuxrules

// The peer of all these connections is one that had timestamps, as all have
// unless net.ipv4.tcp_timestamps is 0.

// bindOverTimeWait is asked for the options that the socket of the ended
// connection had, and those of the next listener. inet_twsk_alloc keeps them
// (tw_reuse, tw_reuseport), and inet_twsk_hashdance the port.
func bindOverTimeWait(v variant) string {
	return inTurn("works", leaves(v.first, timeWait), listener("second", v.second))
}

// connectOverTimeWait is asked for the same options on both.
func connectOverTimeWait(v variant) string {
	return inTurn("connects", leaves(v.first, timeWait), dialer("second", v.second, firstListener))
}

// dialledInTimeWait follows tcp_timewait_state_process and tcp_v4_rcv: a SYN
// with a later timestamp is TCP_TW_SYN, for a listener if there is one. If not,
// it is answered with an ACK, whose RST from the peer ends the TIME_WAIT; the
// peer's next SYN finds nobody.
func dialledInTimeWait(v variant) string {
	return map[string]string{
		"a listener here":  "connects",
		"no listener here": "connect ECONNREFUSED, and the TIME_WAIT is gone",
	}[v.how]
}

// linger follows __tcp_close: who closes first ends up in TIME_WAIT, whatever
// SO_LINGER says; only with 0 seconds there is a RST instead of a FIN, and so
// nothing to wait for.
func linger(v variant) string {
	return map[string]string{
		"closed first, SO_LINGER off":  "TIME_WAIT; the other side sees an end",
		"closed first, SO_LINGER 5 s":  "TIME_WAIT; the other side sees an end",
		"closed first, SO_LINGER 0 s":  "no TIME_WAIT; the other side sees ECONNRESET",
		"closed second, SO_LINGER off": "no TIME_WAIT; the other side sees an end",
	}[v.how]
}
