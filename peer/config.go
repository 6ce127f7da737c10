package peer

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
)

// Config says what a Node is. Key and Server are required.
type Config struct {
	Key    *identity.Key
	Server proto.ServerURL
	// LocalPort is the one local TCP port; 0 lets the system choose a free one.
	LocalPort uint16
	// Answer has the node listed as answering: peers that are allowed may ask
	// to be introduced to it at any time. A node that is connecting to a peer
	// always answers that peer.
	Answer bool
	// Allow are the peers that may connect to this node.
	Allow []proto.ID
	// Expose are the targets that those peers may open: the address, as net.Dial
	// takes it, by the name that peers use. A number is the customary name for
	// that port of the loopback.
	Expose map[string]string
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
	for name, addr := range c.Expose {
		if name == "" || len(name) > proto.MaxTarget || addr == "" {
			return fmt.Errorf("peer: cannot expose target %q at %q", name, addr)
		}
	}
	return nil
}

// withDefaults returns a copy that does not share anything with the caller.
func (c Config) withDefaults() Config {
	c.Allow = slices.Clone(c.Allow)
	c.Expose = maps.Clone(c.Expose)
	if c.Agent == "" {
		c.Agent = "peerd"
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}
