package main

import (
	"net/netip"
	"time"

	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch"
)

// happening is an event of an agent's node as its conductor gets it.
type happening struct {
	At    int64 // nanoseconds of the system's monotonic clock
	Kind  peer.EventKind
	Peer  proto.ID
	Error string

	Local, Remote netip.AddrPort // Connected, Secured: the path

	// Punch only.
	Punch   string        // the kind in a word
	Since   time.Duration // the plan's start
	Attempt int
	To      netip.AddrPort
}

func newHappening(e peer.Event) happening {
	h := happening{
		At: monotonic(), Kind: e.Kind, Peer: e.Peer, Local: e.Path.Local, Remote: e.Path.Remote,
		Punch: e.Punch.Kind.String(), Since: e.Punch.At, Attempt: e.Punch.Attempt, To: e.Punch.To.Addr,
	}
	for _, err := range []error{e.Err, e.Punch.Err} {
		if err != nil {
			h.Error = err.Error()
		}
	}
	return h
}

// diaryLimit is how long an agent waits for a session's end of the making
// before it tells its diary.
const diaryLimit = time.Second

// tellDiary reports all happenings since the start. They are complete as far as
// the making of a session goes: that an agent has connected, and that its node
// says so, are two things.
func (a *agent) tellDiary() {
	select {
	case <-a.made:
	case <-time.After(diaryLimit):
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.say(report{Event: "diary", Diary: a.diary})
}

// note keeps an event.
func (a *agent) note(e peer.Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.diary = append(a.diary, newHappening(e))
	if e.Kind == peer.Connected {
		a.once.Do(func() { close(a.made) })
	}
}

// diary is what one side's node has told.
type diary []happening

// start is the plan's time of the first dial, on the monotonic clock; ok is
// false if it did not come to punching.
func (d diary) start() (at int64, ok bool) {
	for _, h := range d {
		if h.Kind == peer.Punch {
			return h.At - int64(h.Since), true
		}
	}
	return 0, false
}

// first returns the first event of a kind.
func (d diary) first(kind peer.EventKind) (happening, bool) {
	for _, h := range d {
		if h.Kind == kind {
			return h, true
		}
	}
	return happening{}, false
}

// accepted reports whether the connection that the session uses came in by the
// listener at this side: what was proven last is what was used.
func (d diary) accepted() bool {
	accepted := false
	for _, h := range d {
		switch {
		case h.Kind == peer.Connected:
			return accepted
		case h.Punch == punch.Accepted.String():
			accepted = true
		case h.Punch == punch.Proven.String():
			accepted = false
		}
	}
	return accepted
}
