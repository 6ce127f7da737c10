package reuse

import (
	"errors"
	"net/netip"
	"sync"
	"time"
)

// DialOptions is what is special about a dial; the zero value is nothing.
type DialOptions struct {
	TTL   int    // of a quiet dial's SYN; 0 is an ordinary one
	From  uint16 // another local port, as Slots have them; 0 is the claimed one
	Brief bool   // the SYN is repeated twice at most, where the system lets one choose
	// Since is when the program began of which connections may be left on the way; 0
	// is unknown.
	Since time.Time
}

// Begin is BeginWith for two of the options.
func (p *Port) Begin(to netip.AddrPort, ttl int, since time.Time) *Dial {
	return p.BeginWith(to, DialOptions{TTL: ttl, Since: since})
}

func (o DialOptions) from(p *Port) uint16 {
	if o.From != 0 {
		return o.From
	}
	return p.number
}

// set is what is set on the dial's socket.
func (o DialOptions) set() options {
	if o.Brief {
		return dialling.and(local.brief)
	}
	return dialling
}

// errSamePorts is improbable.
var errSamePorts = errors.New("the system proposes the same local ports again and again")

// Slots are other local ports, for who has to have many of them towards one
// address. Each is chosen by the system when it is first used, and the same from then
// on. Nothing holds them between dials. The zero value has none yet. It is safe
// for concurrent use.
type Slots struct {
	mu      sync.Mutex
	numbers map[int]uint16
	taken   map[uint16]bool
}

// Number returns the local port of a slot.
func (s *Slots) Number(slot int) (uint16, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.numbers[slot]; n != 0 {
		return n, nil
	}
	if s.numbers == nil {
		s.numbers, s.taken = make(map[int]uint16), make(map[uint16]bool)
	}
	for range freeTries {
		n, err := freePort()
		if err != nil {
			return 0, err
		}
		if !s.taken[n] {
			s.numbers[slot], s.taken[n] = n, true
			return n, nil
		}
	}
	return 0, errSamePorts
}
