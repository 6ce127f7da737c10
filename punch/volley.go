package punch

import "github.com/peerd/peerd/proto"

// Volley returns the volley of the side with role r, or nil.
func (p *Plan) Volley(r proto.Role) *Volley {
	if r == proto.Initiator {
		return p.InitiatorVolley
	}
	return p.ResponderVolley
}

func (p *Plan) setVolley(r proto.Role, v *Volley) {
	if r == proto.Initiator {
		p.InitiatorVolley = v
		return
	}
	p.ResponderVolley = v
}

// volleysFrom is when the first volley begins, whichever side's; there is one.
func (p *Plan) volleysFrom() uint32 {
	from := p.Limit
	for _, v := range []*Volley{p.InitiatorVolley, p.ResponderVolley} {
		if v != nil {
			from = min(from, v.At)
		}
	}
	return from
}

// Volley is a number of dials to ports, or from ports, of which one may do. All
// of them go to the address at which the server has observed the peer.
type Volley struct {
	Idea Idea `json:"idea"`
	// To is what the server has observed. Its port counts for Spread only.
	To proto.Candidate `json:"to"`
	// At is when the first one is dialled, and Every the time from one to the next.
	At    uint32 `json:"at_us"`
	Every uint32 `json:"every_us"`
	// Hold is how long each is held before it is given up, or replaced.
	Hold uint32 `json:"hold_us"`
	// For is how long there are new dials, from the first one on.
	For uint32 `json:"for_us"`
	// TTL makes them quiet ones; 0 does not. Those of every other round are ordinary
	// all the same.
	TTL uint8 `json:"ttl,omitempty"`
	// Rounds are the ports of Predicted and Crossed, dialled in this order. Each
	// round replaces the one before when that has been held. The third and fourth of
	// Crossed are dialled from another local port than the one.
	Rounds [][]uint16 `json:"rounds,omitempty"`
	// Low and High bound the ports of Guess: each of them once, in any order, and
	// then anew.
	Low  uint16 `json:"low,omitempty"`
	High uint16 `json:"high,omitempty"`
	// Sockets is how many other local ports Spread has, or how many ports Guess has
	// drawn, and dials all the time; 0: all of them, one after the other.
	Sockets uint32 `json:"sockets,omitempty"`
	// Reserve means that plain dials may do as well, for all that is known: it begins
	// when they have had their time, and without it the plan goes on.
	Reserve bool `json:"reserve,omitempty"`
	// Completed means that something on the way completes all of them by itself, so that
	// they wait for the other side as connections.
	Completed bool `json:"completed,omitempty"`
	// Renewed has those that are completed wait for Hold only, and dialled again.
	Renewed bool `json:"renewed,omitempty"`
}

// waiting is how many connections of the volley may wait for their proof.
func (v *Volley) waiting() int {
	if v.Completed {
		return int(min(v.Sockets, maxSpread))
	}
	return maxHits
}

// Guesses reports whether the volley is the costly one: thousands of SYNs.
func (v *Volley) Guesses() bool { return v.Idea == Guess || v.Idea == Spread }

// Bounds of every volley, whatever the transcript says.
const (
	maxRounds  = 8
	maxWindow  = 64  // ports of a round
	maxSpread  = 256 // other local ports
	maxHeld    = 600 // sockets of a volley at a time
	guessBurst = 64
	guessRate  = 432 // SYNs a second; with the burst, and what steps may send, less than 600
	everyGuess = 1_000_000/guessRate + 1
)

// maxGuesses bounds the dials of a volley; what the system repeats comes besides.
const maxGuesses = 3000

// ports returns how many ports of a range there are.
func ports(low, high uint16) uint32 { return uint32(high) - uint32(low) + 1 }
