package main

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
)

// The files in the state directory.
const (
	peerKeyFile   = "identity.key"
	serverKeyFile = "server.key"
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
	return peer.Config{Key: key, Server: server, Agent: "peerd/" + version, Logger: log}, nil
}

// parsePeer parses the PEER of a command line.
func (p *program) parsePeer(cmd *cobra.Command, text string) (proto.ID, error) {
	id, err := proto.ParseID(text)
	if err != nil {
		return id, &usageError{cmd, fmt.Sprintf("PEER %q: %v", text, err)}
	}
	p.names.peer = id
	return id, nil
}

// checkTarget checks a TARGET as far as that is possible here.
func checkTarget(target string) error {
	if target == "" || len(target) > proto.MaxTarget {
		return fmt.Errorf("a target has 1 to %d bytes", proto.MaxTarget)
	}
	for _, c := range []byte(target) {
		if c <= ' ' || c == 0x7f {
			return errors.New("a target has no spaces")
		}
	}
	return nil
}
