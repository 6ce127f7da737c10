package rendezvous

import (
	"math"
	"time"
)

// rttWindow is the number of pongs from which the round trip is estimated.
const rttWindow = 8

// roundTrip estimates a client's round trip as the minimum of the last
// measurements: what exceeds it was spent in queues and in busy processes. The
// zero value has none.
type roundTrip struct {
	samples [rttWindow]uint32 // microseconds; 0 in unused places
	count   uint32
}

// add takes a measurement into account.
func (r *roundTrip) add(d time.Duration) {
	us := min(max(d.Microseconds(), 1), math.MaxUint32)
	r.samples[r.count%rttWindow] = uint32(us)
	r.count++
}

// micros returns the estimate in microseconds, or 0 if nothing was measured.
func (r *roundTrip) micros() uint32 {
	least := r.samples[0]
	for _, s := range r.samples[1:] {
		if s != 0 && s < least {
			least = s
		}
	}
	return least
}
