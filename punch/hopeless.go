package punch

import (
	"fmt"
	"slices"
	"strings"

	"github.com/peerd/peerd/proto"
)

// Hopeless is why two sides cannot get a direct connection, as far as both their
// reports are true. The zero value is that they may.
type Hopeless uint8

// The reasons.
const (
	// BothUnpredictable means that either NAT gives each connection another port,
	// and that at least one chooses it at random: guesses would have to be right on both sides
	// at once (NAT.md, 13).
	BothUnpredictable Hopeless = iota + 1
	// BothStrict means that either NAT refuses a SYN that crosses its own host's,
	// so that neither lets the other in (NAT.md, 12).
	BothStrict
	// BothProxied means that something completes the connections of both sides by
	// itself, so that neither ever reaches the other.
	BothProxied
	// NoHairpin means that both are behind one NAT, which does not let them reach
	// each other at its outside address, and that they have no network in common
	// (NAT.md, 14).
	NoHairpin
	// InitiatorNoGuess, ResponderNoGuess and BothNoGuess mean that only guessing ports
	// could connect the two, and that a side has that switched off (proto.Party.NoGuess).
	InitiatorNoGuess
	ResponderNoGuess
	BothNoGuess
)

// What is said of guesses that are switched off: where plain dials cannot do, and where for
// all that is known they might have done and have not.
const (
	onlyGuesses = "only guessing ports could connect the two"
	alsoGuesses = "plain dials have failed, guessing ports might connect the two"
)

var hopeless = [...]struct{ word, reason string }{
	{},
	{"both-unpredictable", "both NATs give each connection another port, which cannot be predicted"},
	{"both-strict", "both NATs refuse connections from outside, also where this side has dialled there"},
	{"both-proxied", "proxies complete the connections of both sides, and neither reaches the other"},
	{"no-hairpin", "both sides are behind one NAT that keeps them from each other, and have no local network in common"},
	{"initiator-no-guess", onlyGuesses + ", and the initiator has that switched off (--no-guess)"},
	{"responder-no-guess", onlyGuesses + ", and the responder has that switched off (--no-guess)"},
	{"both-no-guess", onlyGuesses + ", and both sides have that switched off (--no-guess)"},
}

// String is the reason in a sentence, or "".
func (h Hopeless) String() string {
	if int(h) < len(hopeless) {
		return hopeless[h].reason
	}
	return fmt.Sprintf("reason %d", uint8(h))
}

// For is the reason as the side with that role is told it.
func (h Hopeless) For(role proto.Role) string {
	side, known := map[Hopeless]proto.Role{InitiatorNoGuess: proto.Initiator, ResponderNoGuess: proto.Responder}[h]
	switch {
	case !known || role == 0:
		return h.String()
	case side == role:
		return onlyGuesses + ", and this side has that switched off (--no-guess)"
	}
	return onlyGuesses + ", and the peer has that switched off (--no-guess)"
}

// MarshalText makes the reason a word in JSON.
func (h Hopeless) MarshalText() ([]byte, error) {
	if int(h) < len(hopeless) {
		return []byte(hopeless[h].word), nil
	}
	return []byte(h.String()), nil
}

// UnmarshalText takes the word back.
func (h *Hopeless) UnmarshalText(word []byte) error {
	for i, known := range hopeless {
		if known.word == string(word) {
			*h = Hopeless(i)
			return nil
		}
	}
	return fmt.Errorf("no reason is called %q", word)
}

// HopelessError says that a plan has ended early because nothing better than its one
// round of plain dials could work, or that it has ended without what might have
// helped.
type HopelessError struct {
	Reason Hopeless   // why nothing could; or else Missing says it
	Role   proto.Role // of this side, for the words; 0 is neither
	// Missing is why this side has left out what could: what Config.AllowGuess or
	// Config.Admit has returned, or that the sockets cannot do it.
	Missing error
	// Dialled means that plain dials might have connected the two, and have had the whole plan
	// for that.
	Dialled bool
	Err     error // what was tried nevertheless
}

// Short gives the reason alone.
func (e *HopelessError) Short() string {
	if e.Reason == 0 {
		return e.Missing.Error()
	}
	reason := e.Reason.For(e.Role)
	if rest, ok := strings.CutPrefix(reason, onlyGuesses); ok && e.Dialled {
		return alsoGuesses + rest
	}
	return reason
}

// Error gives the reason, and then what was tried nevertheless.
func (e *HopelessError) Error() string { return fmt.Sprintf("%s (%v)", e.Short(), e.Err) }

// Unwrap returns Missing and Err.
func (e *HopelessError) Unwrap() []error {
	if e.Missing == nil {
		return []error{e.Err}
	}
	return []error{e.Missing, e.Err}
}

// despair returns why two sides cannot meet, or 0.
func despair(i, r *outlook) Hopeless {
	switch {
	case i.proxied() && r.proxied():
		return BothProxied
	case i.isOpen() || r.isOpen():
		return 0
	case i.strict() && r.strict() && i.filtersPorts() && r.filtersPorts():
		return BothStrict
	}
	natures := []nature{i.nature, r.nature}
	if slices.Contains(natures, steady) || slices.Contains(natures, unknown) || natures[0] == sequential && natures[1] == sequential {
		return 0
	}
	return BothUnpredictable
}

// noGuess returns who guesses no ports, or 0 if both sides do.
func noGuess(t *proto.Transcript) Hopeless {
	switch i, r := t.Initiator.NoGuess, t.Responder.NoGuess; {
	case i && r:
		return BothNoGuess
	case i:
		return InitiatorNoGuess
	case r:
		return ResponderNoGuess
	}
	return 0
}
