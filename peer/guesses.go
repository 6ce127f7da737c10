package peer

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/peerd/peerd/punch"
)

// guesses is when this node has guessed ports lately, and in which networks. The
// zero value is never.
type guesses struct {
	mu   sync.Mutex
	made []guess // within guessPause, oldest first
}

type guess struct {
	at    time.Time
	where string
}

const (
	// guessPause is the time from one guess to the next in one network. What it
	// costs others, who share a NAT or its way out, is not to be paid often.
	guessPause = time.Hour
	// maxGuesses bounds the guesses in that time in all networks: which one it is,
	// is in part the server's word, who may call it another one each time.
	maxGuesses = 4
)

// ErrNoGuess means that Config.NoGuess keeps a connection from being tried that
// only guessing could make.
var ErrNoGuess = errors.New("guessing ports is switched off")

// GuessedError means that a connection which only guessing could make is not tried,
// because this node has guessed ports lately.
type GuessedError struct {
	Again time.Duration // when it may again, at the latest
}

// Error says for how long.
func (e *GuessedError) Error() string {
	return fmt.Sprintf("ports have been guessed here within the hour: again in %v, or in another network", e.Again.Round(time.Second))
}

// allow notes a guess, or says why there must be none.
func (g *guesses) allow(now time.Time, where string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.made = slices.DeleteFunc(g.made, func(m guess) bool { return now.Sub(m.at) >= guessPause })
	i := slices.IndexFunc(g.made, func(m guess) bool { return m.where == where })
	if i < 0 && len(g.made) >= maxGuesses {
		i = 0
	}
	if i >= 0 {
		return &GuessedError{guessPause - now.Sub(g.made[i].at)}
	}
	g.made = append(g.made, guess{now, where})
	return nil
}

// allowGuess implements punch.RunConfig.AllowGuess.
func (n *Node) allowGuess() error {
	if n.cfg.NoGuess {
		return ErrNoGuess
	}
	return n.guesses.allow(time.Now(), n.network())
}

// network names the network that this node is in, by its addresses: its own, and the
// one that the server sees.
func (n *Node) network() string {
	host, err := punch.ReadHostNetwork()
	if err != nil {
		n.cfg.Logger.Warn("going on without the local networks", "err", err)
	}
	slices.SortFunc(host.Addrs, func(a, b netip.Addr) int { return a.Compare(b) })
	return fmt.Sprint(n.Observed().Addr(), host.Addrs)
}
