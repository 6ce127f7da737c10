package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/peerd/peerd/cmd/peerd/ownfile"
	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
)

// The flag, its variable and the key of the file reach the node, of each command
// that connects.
func TestNoGuess(t *testing.T) {
	for _, name := range []string{"connect", "nc", "ping", "run"} {
		for _, test := range []struct {
			arg, variable, file string
			want                bool
		}{
			{"", "", "", false},
			{"--no-guess", "", "", true},
			{"", "true", "", true},
			{"--no-guess=false", "true", "", false},
			{"", "", "no-guess = true\n", true},
			{"", "", "[" + name + "]\nno-guess = true\n", true},
		} {
			if got := asksForNoGuess(t, name, test.arg, test.variable, test.file); got != test.want {
				t.Errorf("%s %s with the variable %q and the file %q: %v", name, test.arg, test.variable, test.file, got)
			}
		}
	}
}

// asksForNoGuess returns what the node of a command is told.
func asksForNoGuess(t *testing.T, command, arg, env, file string) bool {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(config, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	server := proto.ServerURL{Host: "192.0.2.1", Port: proto.DefaultPort, Key: identity.Generate().ID()}
	args := []string{"--config", config, "--state-dir", dir, "--server", server.String()}
	if arg != "" {
		args = append(args, arg)
	}
	t.Setenv(variable(noGuessName), env)
	p := new(program)
	cmd, _, err := p.rootCommand().Find([]string{command})
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	if err := p.loadSettings(cmd); err != nil {
		t.Fatal(err)
	}
	cfg, err := p.nodeConfig(cmd, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	keepsGuesses(t, cfg, dir)
	return cfg.NoGuess
}

// keepsGuesses checks that the next process finds what a node keeps, in a file of
// the user's own.
func keepsGuesses(t *testing.T, cfg peer.Config, dir string) {
	t.Helper()
	path := filepath.Join(dir, guessesFile)
	for _, text := range []string{"one", "two"} {
		if err := cfg.KeepGuesses(func([]byte) ([]byte, error) { return []byte(text), nil }); err != nil {
			t.Fatal(err)
		}
		if kept, _, err := ownfile.Read(path); err != nil || string(kept) != text {
			t.Errorf("the file has %q, %v; want %q", kept, err, text)
		}
	}
}
