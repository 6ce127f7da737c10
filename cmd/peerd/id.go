package main

import (
	"encoding/json"

	"github.com/spf13/cobra"
)

// idAnswer is what "id --json" prints.
type idAnswer struct {
	ID string `json:"id"`
}

func (p *program) idCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "id",
		Short: "Print this machine's peer ID",
		Long: `Print the peer ID that belongs to the private key in the state directory
(identity.key). If there is no key yet, it is created.

With --json: {"id": ID}.`,
		Example: "  peerd id",
		Args:    takes(),
		RunE:    p.begin(func(*cobra.Command, []string) error { return p.id() }),
	}
}

func (p *program) id() error {
	key, err := p.key(peerKeyFile, p.logger(silent))
	if err != nil {
		return err
	}
	id := key.ID().String()
	if p.json {
		return p.printJSON(idAnswer{id})
	}
	return p.println(id)
}

// printJSON prints an answer as one line of JSON.
func (p *program) printJSON(answer any) error {
	text, err := json.Marshal(answer)
	if err != nil {
		return err
	}
	return p.println(string(text))
}
