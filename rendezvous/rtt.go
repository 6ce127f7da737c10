package rendezvous

import (
	"crypto/tls"
	"math"
	"time"
)

const (
	// rttWindow is the number of measurements from which the round trip is estimated.
	rttWindow = 8
	// rttFirst is how many of them are made at once. A single one that has met a lost
	// packet is longer by the time until TCP repeats it, 200 ms at least, and would
	// stretch all plans until the client's next ping.
	rttFirst = 4
)

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

// wants reports whether another measurement is to be made at once.
func (r *roundTrip) wants() bool { return r.count < rttFirst }

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

// handshake does a server's TLS handshake and returns how long the client has taken to
// answer its last flight. The answer ends with the Finished message, which depends on that
// flight: nothing that a client sends early makes its round trip shorter.
func handshake(conn *tls.Conn, w *wire) (took time.Duration, err error) {
	var wrote time.Time
	w.wrote = &wrote
	err = conn.Handshake()
	w.wrote = nil // from here on the connection's reader and writer are two
	return max(time.Since(wrote), 1), err
}
