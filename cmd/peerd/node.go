package main

import (
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/peerd/peerd/cmd/peerd/ownfile"
	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/proto/identity"
)

// The files in the state directory.
const (
	peerKeyFile   = "identity.key"
	serverKeyFile = "server.key"
	guessesFile   = "guesses.json"
)

// key loads a private key from the state directory, or creates it.
func (p *program) key(file string, log *slog.Logger) (*identity.Key, error) {
	path, err := p.statePath(file)
	if err != nil {
		return nil, err
	}
	key, created, err := identity.LoadOrCreate(path)
	if err != nil {
		return nil, err
	}
	if created {
		log.Info("created a private key", "path", path, "id", key.ID())
	}
	return key, nil
}

// nodeConfig returns what every node of this program has in common. PEER is
// parsed before it.
func (p *program) nodeConfig(cmd *cobra.Command, log *slog.Logger) (peer.Config, error) {
	server, err := p.serverURL(cmd)
	if err != nil {
		return peer.Config{}, err
	}
	key, err := p.key(peerKeyFile, log)
	if err != nil {
		return peer.Config{}, err
	}
	p.names.self = key.ID()
	if p.names.self == p.names.peer {
		return peer.Config{}, &usageError{cmd, "PEER is this machine's own ID: take the one that \"peerd id\" prints on the other machine"}
	}
	guesses, err := p.statePath(guessesFile)
	if err != nil {
		return peer.Config{}, err
	}
	return peer.Config{
		Key: key, Server: server, PortMode: portModeOf(cmd.Flags()), Agent: "peerd/" + version, Logger: log,
		NoGuess:     noGuessOf(cmd.Flags()),
		KeepGuesses: func(edit func([]byte) ([]byte, error)) error { return ownfile.Edit(guesses, edit) },
	}, nil
}
