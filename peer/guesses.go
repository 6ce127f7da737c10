package peer

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/peerd/peerd/punch"
)

// guesses is when this node has guessed ports lately, and in which networks. The
// zero value is never, and forgets with the process.
type guesses struct {
	mu   sync.Mutex
	text []byte // a guessLog: what this process knows
	// keep is Config.KeepGuesses, or nil.
	keep func(edit func(kept []byte) ([]byte, error)) error
}

// guessLog is what is kept: the guesses within guessPause, oldest first.
type guessLog struct {
	Guesses []guess `json:"guesses"`
}

type guess struct {
	At time.Time `json:"at"`
	// Where is a hash: who reads the file is not to read where its owner has been.
	Where string `json:"where"`
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
// only guessing could make, although the server has not passed that on: plans that know
// it contain no guess (punch.InitiatorNoGuess).
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

// allow notes a guess, or returns a *GuessedError. Another error says that it could
// not be noted where other processes look: that is no reason not to guess, but to say so.
//
// The time is read where nobody else can read a later one before: a guess from the
// future does not count.
func (g *guesses) allow(now func() time.Time, where string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	where = digest(where)
	// What this process knows holds whatever became of the file.
	text, err := noteGuess(g.text, guess{now(), where})
	if err != nil {
		return err
	}
	var denied *GuessedError
	if g.keep != nil {
		err = g.keep(func(kept []byte) ([]byte, error) { return noteGuess(kept, guess{now(), where}) })
	}
	if !errors.As(err, &denied) {
		g.text = text
	}
	return err
}

// noteGuess adds a guess to a log, or returns a *GuessedError. A log that cannot be
// read is an empty one.
func noteGuess(kept []byte, next guess) ([]byte, error) {
	var log guessLog
	if json.Unmarshal(kept, &log) != nil {
		log = guessLog{}
	}
	log.Guesses = slices.DeleteFunc(log.Guesses, func(g guess) bool {
		since := next.At.Sub(g.At)
		return since < 0 || since >= guessPause // a clock that was set back must not lock anybody out
	})
	i := slices.IndexFunc(log.Guesses, func(g guess) bool { return g.Where == next.Where })
	if i < 0 && len(log.Guesses) >= maxGuesses {
		i = 0
	}
	if i >= 0 {
		return nil, &GuessedError{guessPause - next.At.Sub(log.Guesses[i].At)}
	}
	log.Guesses = append(log.Guesses, next)
	return json.Marshal(log)
}

// digest tells networks apart without naming them.
func digest(where string) string {
	sum := sha256.Sum256([]byte(where))
	return hex.EncodeToString(sum[:8])
}

// allowGuess implements punch.RunConfig.AllowGuess.
func (n *Node) allowGuess() error {
	if n.cfg.NoGuess {
		return ErrNoGuess
	}
	err := n.guesses.allow(func() time.Time { return time.Now().Round(0) }, n.network())
	var denied *GuessedError
	if err != nil && !errors.As(err, &denied) {
		n.cfg.Logger.Warn("that ports are guessed now could not be noted for other processes", "err", err)
		return nil
	}
	return err
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
