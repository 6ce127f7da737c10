package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/peerd/peerd/punch/reuse/survey"
)

// socketsAnswer is what "sockets --json" prints.
type socketsAnswer struct {
	System      string            `json:"system"`        // name and release
	Peerd       string            `json:"peerd"`         // what "version" prints
	Addresses   map[string]string `json:"addresses"`     // by kind; "" for one of this machine's own
	LeftOut     []string          `json:"left_out"`      // kinds that this machine lacks, as KIND: REASON; never null
	Cases       []caseAnswer      `json:"cases"`         //
	Scenarios   []scenarioAnswer  `json:"scenarios"`     //
	Mode        string            `json:"mode"`          // the best that works
	NotShared   string            `json:"not_shared"`    // why that mode does not work; "" if it does
	NotDialOnly string            `json:"not_dial_only"` // likewise
	ReusePort   bool              `json:"reuse_port"`
	Pinned      bool              `json:"pinned"`
	QuietDial   bool              `json:"quiet_dial"`
}

// caseAnswer is an element of its cases.
type caseAnswer struct {
	Protocol      string `json:"protocol"`
	State         string `json:"state"`
	First         string `json:"first"`
	FirstOptions  string `json:"first_options"`
	Second        string `json:"second"`
	SecondOptions string `json:"second_options"`
	FirstFailed   string `json:"first_failed"`
	Bind          string `json:"bind"`
	Connect       string `json:"connect"`
	Listen        string `json:"listen"`
}

// scenarioAnswer is an element of its scenarios.
type scenarioAnswer struct {
	Name     string `json:"name"`
	Question string `json:"question"`
	Variant  string `json:"variant"`
	Result   string `json:"result"`
	Detail   string `json:"detail"`
	Skipped  string `json:"skipped"`
}

func (p *program) socketsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sockets",
		Short: "Show what this system does with SO_REUSEADDR and SO_REUSEPORT",
		Long: `Try what this operating system does with one ip:port in several sockets, and
print it as tables: for TCP and UDP, sockets that are bound, listening and
connected, with SO_REUSEADDR, SO_REUSEPORT, both or none on the first and on the
second one, on every pair of addresses; then listening and dialling at once,
TIME_WAIT, SO_LINGER, who gets a connection, and what another process of this
user, or as root of another user, can take. The last lines say which of peerd's
modes work here, and why the others do not.

It takes a second or a few, on this machine's own addresses only: no network and
no root are needed, and nothing is left but, on some systems, a few connections
in TIME_WAIT.

With --json: every combination and every answer, as docs/json.md describes them.
If docs/sockets.md lacks your system, please send that.`,
		Example: `  peerd sockets
  peerd sockets --json > sockets.json`,
		Args: takes(),
		RunE: p.begin(func(cmd *cobra.Command, _ []string) error { return p.sockets(cmd.Context()) }),
	}
	cmd.AddCommand(p.rivalCommand())
	return cmd
}

// rivalCommand is the other process of the scenarios that need one.
func (p *program) rivalCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "rival",
		Hidden: true,
		Args:   takes(),
		RunE:   p.begin(func(*cobra.Command, []string) error { return survey.Rival(p.stdin, p.stdout) }),
	}
}

// sockets is the command.
func (p *program) sockets(ctx context.Context) error {
	f, err := p.surveySockets(ctx)
	if err != nil {
		return interrupted(ctx, err)
	}
	if p.json {
		return p.printJSON(f.answer())
	}
	return p.println(f.text())
}

func (f findings) answer() socketsAnswer {
	a := socketsAnswer{
		System: f.system, Peerd: buildVersion().String(), Addresses: make(map[string]string), LeftOut: append([]string{}, f.host.LeftOut()...),
		Mode: f.Mode.String(), NotShared: reasonOf(f.NotShared), NotDialOnly: reasonOf(f.NotDialOnly),
		ReusePort: f.ReusePort, Pinned: f.Pinned, QuietDial: f.QuietDial,
	}
	for _, kind := range f.host.Addresses() {
		a.Addresses[kind.String()] = shown(f.host.Addr(kind))
	}
	for _, r := range f.rows {
		c, o := r.Case, r.Outcome
		a.Cases = append(a.Cases, caseAnswer{
			c.Protocol(), c.State.String(), c.First.String(), c.FirstOptions.String(), c.Second.String(), c.SecondOptions.String(),
			o.First, o.Bind, o.Connect, o.Listen,
		})
	}
	for _, s := range f.scenarios {
		a.Scenarios = append(a.Scenarios, scenarioAnswer(s))
	}
	return a
}

// reasonOf returns an error's text, "" for none.
func reasonOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
