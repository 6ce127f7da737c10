package punch

import (
	"fmt"
	"time"

	"github.com/peerd/peerd/proto"
)

// Event is one thing that happened while punching. Events tell people and
// programs why a direct connection exists, or why not.
type Event struct {
	At      time.Duration   `json:"at"`      // since the plan's first dial is due; negative before
	Attempt int             `json:"attempt"` // number of the dial or accepted socket, from 1; 0 where none is meant
	Kind    EventKind       `json:"kind"`
	To      proto.Candidate `json:"to"`
	Idea    Idea            `json:"idea,omitempty"`  // why that is dialled; 0 where nothing is
	Dials   int             `json:"dials,omitempty"` // Aimed: how many there will be, 0 if time decides; Spent: how many there were
	Err     error           `json:"-"`               // set where Kind is Skipped, Failed, Unproven or Expired
}

// EventKind says what happened.
type EventKind uint8

// The kinds of events.
const (
	Skipped   EventKind = iota + 1 // the address must not be dialled, or the spare port is taken here: see Err
	Dialled                        // a SYN left
	Replaced                       // the dial had no answer for the plan's Hold and is dialled anew
	Failed                         // the dial ended: see Err
	Connected                      // the dial completed; nothing is proven yet
	Accepted                       // the peer's dial was accepted, and proven
	Proven                         // the other end of the dial knows the introduction
	Unproven                       // the other end is not the peer, or did not say so in time
	Expired                        // the plan's limit is reached without a connection
	Yielded                        // another address has its turn: this side has one socket at a time
	Aimed                          // a volley, or a round of it, begins; its dials have no events of their own unless they connect
	Spent                          // a volley is over
)

// String names the kind in one lower-case word.
func (k EventKind) String() string {
	names := [...]string{"", "skipped", "dialled", "replaced", "failed", "connected", "accepted", "proven", "unproven", "expired", "yielded", "aimed", "spent"}
	if int(k) < len(names) {
		return names[k]
	}
	return fmt.Sprintf("event(%d)", uint8(k))
}

// MarshalText makes the kind a word in JSON.
func (k EventKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// String returns the event as one line for people.
func (e Event) String() string {
	s := fmt.Sprintf("%+.1fms", float64(e.At.Microseconds())/1e3)
	if e.Attempt > 0 {
		s += fmt.Sprintf(" #%d", e.Attempt)
	}
	s += " " + e.Kind.String()
	if e.To.Addr.IsValid() {
		s += " " + e.To.String()
	}
	if e.Idea > Plain {
		s += " (" + e.Idea.String() + ")"
	}
	if e.Dials > 0 {
		s += fmt.Sprintf(", %d dials", e.Dials)
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}
