package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/punch/nat"
)

// doctorAnswer is what "doctor --json" prints.
type doctorAnswer struct {
	Server    string         `json:"server"`     // host:port
	Local     string         `json:"local"`      // address of the connection to it, here
	Observed  netip.AddrPort `json:"observed"`   // and as the server sees it
	PortMode  string         `json:"port_mode"`  // how the local port is used
	NotShared string         `json:"not_shared"` // why that is not "shared"; "" if it is
	NAT       peer.NATStatus `json:"nat"`
	Peer      *peerDiagnosis `json:"peer"` // null if none was asked for, or it did not come to an introduction
}

// doctorOptions are the flags of doctor.
type doctorOptions struct {
	timeout   time.Duration
	localPort uint16
	stun      []string
}

func (p *program) doctorCommand() *cobra.Command {
	var o doctorOptions
	cmd := &cobra.Command{
		Use:   "doctor [PEER]",
		Short: "Find out what the NATs here do, and what works with a peer, or why not",
		Long: `Register with the server, find out with its help what the NATs in front of this
machine do with TCP, and say what that means for connections to peers. It takes a
second or two and up to 25 short connections to the server, which also sends up
to ten SYNs back. Nobody else is contacted but the servers of --stun, and a daemon
that runs here is not disturbed.

Each line says what was measured, or that it is unknown and why. What one address
of a server cannot tell takes one that runs with --probe-addr.

With PEER, a name or an ID, it then connects to that peer, which must allow this
machine, and says what the peer states of its own NATs, what both sides were to dial
because of that, or why nothing can work, and what came of it. The exit code is that
of ping: 8 without a direct connection.

With --json: all of it, as docs/json.md describes it.`,
		Example: `  peerd doctor
  peerd doctor home
  peerd doctor --json | jq -r .nat.mapping`,
		Args: takes("[PEER]"),
		RunE: p.begin(func(cmd *cobra.Command, args []string) error { return p.doctor(cmd, o, args) }),
	}
	f := cmd.Flags()
	f.DurationVar(&o.timeout, "timeout", 30*time.Second, "exit with 124 if it takes longer than `LIMIT`")
	f.Uint16Var(&o.localPort, "local-port", 0, "local TCP `PORT` to look at (default a free one)")
	stunFlag(cmd, &o.stun)
	portModeFlag(cmd)
	noGuessFlag(cmd)
	return cmd
}

// checkSTUN checks the servers of --stun as far as that is possible here.
func (p *program) checkSTUN(cmd *cobra.Command, servers []string) error {
	for _, s := range servers {
		if _, _, err := net.SplitHostPort(s); err != nil {
			return &usageError{cmd, fmt.Sprintf("%s is HOST:PORT, not %q", p.settings.origin("stun"), s)}
		}
	}
	return nil
}

// stunFlag adds the flag for further servers.
func stunFlag(cmd *cobra.Command, servers *[]string) {
	cmd.Flags().StringArrayVar(servers, "stun", nil, "`HOST:PORT` of another server that answers STUN over TCP, to find out more with; may be repeated")
}

func (p *program) doctor(cmd *cobra.Command, o doctorOptions, args []string) error {
	if o.timeout <= 0 {
		return &usageError{cmd, p.settings.origin("timeout") + " is a time above zero"}
	}
	if err := p.checkSTUN(cmd, o.stun); err != nil {
		return err
	}
	var w *witness
	if len(args) > 0 {
		id, err := p.parsePeer(cmd, args[0])
		if err != nil {
			return err
		}
		w = &witness{peer: id}
	}
	cfg, err := p.nodeConfig(cmd, p.logger(slog.LevelWarn))
	if err != nil {
		return err
	}
	cfg.LocalPort, cfg.STUN = o.localPort, o.stun
	if w != nil {
		cfg.Events = w.event
	}
	return p.diagnose(cmd, cfg, o, w)
}

// diagnose measures, meets the peer if there is one, and prints what was found.
func (p *program) diagnose(cmd *cobra.Command, cfg peer.Config, o doctorOptions, w *witness) error {
	doing := "finding out what the NATs do, with the help of " + cfg.Server.HostPort()
	if w != nil {
		doing += ", and connecting to peer " + w.peer.String()
	}
	limit := &timeoutError{o.timeout, doing}
	ctx, cancel := context.WithTimeoutCause(cmd.Context(), o.timeout, limit)
	defer cancel()
	node, err := peer.New(cfg)
	if err != nil {
		return err
	}
	defer node.Close()
	if err := node.Start(ctx); err != nil {
		return interrupted(ctx, err)
	}
	found, err := node.Study(ctx)
	if errors.Is(err, nat.ErrNoServer) {
		return fmt.Errorf("the server %s helps only with a probe port that can be reached: %w; start it with --probe-listen, and let the port through its firewall", cfg.Server.HostPort(), err)
	}
	if errors.Is(err, nat.ErrMoved) {
		return fmt.Errorf("%w; run it again in the network that is to be looked at", err)
	}
	if err != nil {
		return interrupted(ctx, err)
	}
	st := node.Status()
	answer := doctorAnswer{Server: st.Server, Local: st.Local.String(), Observed: st.Observed, PortMode: st.PortMode, NotShared: st.NotShared, NAT: found}
	var failed error
	if w != nil {
		answer.Peer, failed = w.meet(ctx, node)
	}
	if err := p.printDiagnosis(answer); err != nil {
		return err
	}
	return interrupted(ctx, failed)
}

func (p *program) printDiagnosis(a doctorAnswer) error {
	if p.json {
		return p.printJSON(a)
	}
	return p.println(a.text())
}

// text is what "doctor" prints for people.
func (a doctorAnswer) text() string {
	lines := []string{
		fmt.Sprintf("%-16s %s", "server", a.Server),
		fmt.Sprintf("%-16s %s, used in mode %s", "here", a.Local, a.PortMode),
		fmt.Sprintf("%-16s %s", "seen from there", a.Observed),
		"",
	}
	if a.NotShared != "" {
		lines[1] += ": " + a.NotShared
	}
	lines = append(lines, inLines(a.findings())...)
	if a.Peer != nil {
		lines = append(append(lines, ""), inLines(a.Peer.findings())...)
	}
	return strings.Join(lines, "\n")
}

// inLines sets out what was found: each meaning below what it is about.
func inLines(list []diagnosis) (lines []string) {
	for _, l := range list {
		lines = append(lines, strings.TrimRight(fmt.Sprintf("%-16s %s", l.title, l.value), " "))
		for _, meaning := range wrapped(l.meaning, "") {
			if meaning = strings.TrimSpace(meaning); meaning != "" {
				lines = append(lines, fmt.Sprintf("%-16s %s", "", meaning))
			}
		}
	}
	return lines
}

// diagnosis is one thing that was measured, and what it means.
type diagnosis struct{ title, value, meaning string }

// findings are in the order in which they matter.
func (a doctorAnswer) findings() (list []diagnosis) {
	n := a.NAT
	add := func(field nat.Field, title, value, meaning string) {
		if why := n.Unknown[string(field)]; why != "" {
			value, meaning = "unknown: "+why, ""
		}
		list = append(list, diagnosis{title, value, meaning})
	}
	add(nat.FieldMapping, "mapping", n.Mapping, meanings[nat.FieldMapping][n.Mapping])
	add(nat.FieldAllocation, "ports", a.allocation(), meanings[nat.FieldAllocation][n.Allocation])
	add(nat.FieldFiltering, "filtering", n.Filtering, meanings[nat.FieldFiltering][n.Filtering])
	add(nat.FieldUnsolicited, "unsolicited SYN", n.Unsolicited, meanings[nat.FieldUnsolicited][n.Unsolicited])
	add(nat.FieldCrossing, "crossing SYN", n.Crossing, meanings[nat.FieldCrossing][n.Crossing])
	add(nat.FieldOnReset, "mapping at a RST", n.OnReset, meanings[nat.FieldOnReset][n.OnReset])
	add(nat.FieldPoisoned, "early SYN", n.Poisoned, meanings[nat.FieldPoisoned][n.Poisoned])
	add(nat.FieldPooling, "addresses", n.Pooling, meanings[nat.FieldPooling][n.Pooling])
	add(nat.FieldHairpin, "hairpinning", n.Hairpin, meanings[nat.FieldHairpin][n.Hairpin])
	add(nat.FieldHops, "own NATs", fmt.Sprintf("passed with TTL %d", n.Hops), "")
	add(nat.FieldProxied, "proxy", n.Proxied, meanings[nat.FieldProxied][n.Proxied])
	return list
}

// allocation says how ports are chosen, with its numbers.
func (a doctorAnswer) allocation() string {
	n, text := a.NAT, a.NAT.Allocation
	switch {
	case n.Delta != 0:
		text += fmt.Sprintf(" by %+d", n.Delta)
		if n.Background > 0 {
			text += fmt.Sprintf(", of which others take %.0f a second", n.Background)
		}
	case n.High != 0:
		text += fmt.Sprintf(" of about %d to %d", n.Low, n.High)
	}
	return fmt.Sprintf("%s (%d %% sure)", text, n.Confidence)
}

// meanings say what the values of a field mean for connections.
var meanings = map[nat.Field]map[string]string{
	nat.FieldMapping: {
		"none":                       "no NAT is in the way: peers see this machine's own address",
		"endpoint-independent":       "the port that the server sees is the one that peers reach: the best kind of NAT",
		"address-dependent":          "each peer sees another port than the server does: it has to be predicted",
		"address-and-port-dependent": "each peer sees another port than the server does: it has to be predicted",
		"per-connection":             "each connection has another port: it has to be predicted anew every time",
	},
	nat.FieldAllocation: {
		"preserving": "the outside port is the local one where that is free",
		"sequential": "the next port can be predicted",
		"block":      "the next port is one of few: trying some of them finds it",
		"random":     "the next port cannot be predicted: a peer behind such a NAT, too, cannot be reached",
	},
	nat.FieldFiltering: {
		"endpoint-independent":       "peers get in without being dialled from here",
		"address-dependent":          "a peer gets in from any port of an address that was dialled from here",
		"address-and-port-dependent": "a peer gets in only from where it was dialled from here: both sides have to dial",
	},
	nat.FieldUnsolicited: {
		"dropped":                  "a peer that dials too early loses nothing",
		"RST":                      "a peer that dials too early is refused and has to dial again",
		"ICMP error":               "a peer that dials too early is refused and has to dial again",
		"ICMP error after seconds": "a peer that dials too early loses nothing for some seconds",
	},
	nat.FieldCrossing: {
		"accepted":   "both sides may dial at the same time",
		"dropped":    "when both sides dial, the other side's NAT has to let the connection in",
		"RST":        "when both sides dial, this NAT refuses the other side: its own has to let the connection in",
		"ICMP error": "when both sides dial, this NAT refuses the other side: its own has to let the connection in",
	},
	nat.FieldOnReset: {
		"kept":                "a refusal by the other side's NAT costs nothing",
		"deleted":             "a refusal by the other side's NAT closes the way in until the next dial",
		"deleted and blocked": "a refusal by the other side's NAT closes the way in for a while",
	},
	nat.FieldPoisoned: {
		"no":  "a SYN from outside that comes first does no harm",
		"yes": "a SYN from outside that comes first takes the port of the dial that was to meet it: this side has to dial first",
	},
	nat.FieldPooling: {
		"paired":    "all connections have one outside address",
		"arbitrary": "connections have different outside addresses: peers cannot know which one to dial",
	},
	nat.FieldHairpin: {
		"accepted":   "peers behind the same NAT can meet at its outside address",
		"dropped":    "peers behind the same NAT meet on the local network only",
		"RST":        "peers behind the same NAT meet on the local network only",
		"ICMP error": "peers behind the same NAT meet on the local network only",
	},
	nat.FieldProxied: {
		"no":  "nothing on the way completes connections by itself",
		"yes": "something on the way completes connections by itself: direct connections are hardly possible",
	},
}
