package peer

import (
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
	"github.com/peerd/peerd/punch/reuse"
)

// Config says what a Node is. Key and Server are required.
type Config struct {
	Key    *identity.Key
	Server proto.ServerURL
	// LocalPort is the one local TCP port; 0 lets the system choose a free one.
	LocalPort uint16
	// PortMode is how the port is used; 0 is the best mode that works on this
	// system, which Start finds out. Start fails if it is known not to work here.
	PortMode reuse.Mode
	// NoGuess keeps this node from guessing the ports of a peer whose NAT chooses
	// them at random, and from opening many ports for a peer that does: some
	// hundreds of sockets, and up to 500 SYNs a second for some seconds. Otherwise it
	// does so at most once an hour, and again when its network has changed, and four times an hour
	// at all.
	NoGuess bool
	// KeepGuesses keeps when this node has guessed, for later processes and those
	// beside it, which share what is kept: it calls edit with what was kept last, nil
	// if nothing was, and keeps what that returns, unless that is an error, which it
	// returns. It may be called by several goroutines of as many nodes. Nil is
	// for a program that runs on: the node then knows of its own guesses only.
	KeepGuesses func(edit func(kept []byte) ([]byte, error)) error
	// Answer has the node listed as answering: peers that are allowed may ask
	// to be introduced to it at any time. A node that is connecting to a peer
	// always answers that peer, of those that it connects to at once
	// proto.MaxAnswersFor.
	Answer bool
	// AnswerFor are peers that this node answers although Answer is false, as it
	// does while it is connecting to them, at most proto.MaxAnswersFor. Another
	// node with the same Key, which has Answer set, then does not hear of them.
	AnswerFor []proto.ID
	// Allow are the peers that may connect to this node and open what it offers:
	// the zero Grant.
	Allow []proto.ID
	// Authorize says, besides Allow, whether a peer may connect to this node, and
	// what it may do. It is consulted each time a peer asks for something, so its
	// answer may change at any time; streams that are open stay so. It must be
	// quick, and safe for concurrent use. Nil authorises nobody.
	Authorize func(proto.ID) (Grant, bool)
	// Expose are the targets that peers may open: the address, "host:port" or
	// "unix:/path", by the name that peers use. A number is the customary name
	// for that port of the loopback.
	Expose map[string]string
	// Names are names for peers, which DialContext takes in place of their IDs.
	Names map[string]proto.ID
	// STUN are further servers, as "host:port", that answer STUN over TCP (RFC 8489).
	// The node measures its NATs with them, too, from its local port: that is all that
	// they are used for. At most 4.
	STUN []string
	// Persist makes Start wait until the server can be reached instead of
	// failing at the first attempt. Errors that will not go away, such as a
	// server with another key, still fail.
	Persist bool
	// Agent is the program's name and version, for the server's log; "" is
	// "peerd".
	Agent string
	// Events is told what happens, one event at a time; it must not block. Nil
	// ignores them.
	Events func(Event)
	// Logger gets what an operator wants to read later; nil discards it.
	Logger *slog.Logger
}

func (c Config) check() error {
	if c.Key == nil || c.Server.Key.IsZero() {
		return fmt.Errorf("peer: Config needs a Key and a Server")
	}
	if c.PortMode > reuse.Sequential {
		return fmt.Errorf("peer: Config.PortMode is %v", c.PortMode)
	}
	if len(c.AnswerFor) > proto.MaxAnswersFor {
		return fmt.Errorf("peer: Config.AnswerFor has %d peers, and at most %d are possible", len(c.AnswerFor), proto.MaxAnswersFor)
	}
	if len(c.STUN) > maxSTUN {
		return fmt.Errorf("peer: Config.STUN has %d servers, and at most %d are possible", len(c.STUN), maxSTUN)
	}
	for _, addr := range c.STUN {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return fmt.Errorf("peer: Config.STUN: %w", err)
		}
	}
	for name, addr := range c.Expose {
		if err := (&proto.Open{Target: name}).Check(); err != nil || addr == "" {
			return fmt.Errorf("peer: cannot expose target %q at %q", name, addr)
		}
	}
	for name, id := range c.Names {
		if name == "" || strings.Contains(name, ":") || id.IsZero() {
			return fmt.Errorf("peer: cannot call peer %s by the name %q", id, name)
		}
	}
	return nil
}

// maxSTUN bounds Config.STUN.
const maxSTUN = 4

// withDefaults returns a copy that does not share anything with the caller.
func (c Config) withDefaults() Config {
	c.AnswerFor = slices.Clone(c.AnswerFor)
	c.Allow = slices.Clone(c.Allow)
	c.STUN = slices.Clone(c.STUN)
	c.Expose = maps.Clone(c.Expose)
	c.Names = maps.Clone(c.Names)
	if c.Agent == "" {
		c.Agent = "peerd"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}
