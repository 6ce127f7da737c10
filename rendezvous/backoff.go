package rendezvous

import "time"

const (
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
	// lasting is how long a registration lasts if nothing is wrong with the
	// server or the way there.
	lasting = time.Minute
)

// backoff says how long to wait before the next attempt to register:
// exponential, with full jitter, so that the clients of a server that was
// restarted do not all return at once. The zero value is ready to use.
type backoff struct {
	ceiling time.Duration // of the next delay; 0 means firstRetry
}

// next returns the delay before the next attempt, for a random number in
// [0, 1).
func (b *backoff) next(random float64) time.Duration {
	ceiling := max(b.ceiling, firstRetry)
	b.ceiling = min(2*ceiling, lastRetry)
	return time.Duration(random * float64(ceiling))
}

// registered takes into account how long a registration lasted.
func (b *backoff) registered(d time.Duration) {
	if d > lasting {
		b.ceiling = 0
	}
}
