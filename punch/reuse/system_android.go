package reuse

import "time"

// local is Android: Linux's kernel, of which every version that Go runs on has
// SO_REUSEPORT, under policies of its own. None of this was seen by us; what a
// policy forbids, Probe finds out. TTL, TIME_WAIT and errors are Linux's.
var local = system{
	errnos:    linux,
	share:     options{reuseAddr, reusePort},
	exclusive: options{reuseAddr},
	listen:    options{synAckCount, pin},
	dial:      options{abrupt, synCount},
	brief:     options{synOnce},
	hold:      []options{{reusePort}, {reuseAddr, reusePort}},
	timeWait:  time.Minute,
	lock:      lockByName,
}
