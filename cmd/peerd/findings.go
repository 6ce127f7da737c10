package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"

	"github.com/peerd/peerd/punch/reuse"
	"github.com/peerd/peerd/punch/reuse/survey"
)

// findings is what was found out about this system.
type findings struct {
	system    string
	host      *survey.Host
	rows      []survey.Row
	scenarios []survey.Scenario
	reuse.Capabilities
}

func (p *program) surveySockets(ctx context.Context) (f findings, err error) {
	f.system = survey.System()
	if f.host, err = survey.Open(); err != nil {
		return f, err
	}
	if f.Capabilities, err = reuse.Probe(ctx); err != nil {
		return f, err
	}
	if f.rows, err = f.host.TryAll(ctx); err != nil {
		return f, err
	}
	self, err := os.Executable()
	if err != nil {
		return f, err
	}
	f.scenarios, err = f.host.Scenarios(ctx, func(ctx context.Context) *exec.Cmd {
		cmd := exec.CommandContext(ctx, self, "sockets", "rival")
		cmd.Stderr = p.screen
		return cmd
	})
	return f, err
}

// text is what "sockets" prints for people.
func (f findings) text() string {
	return strings.Join([]string{f.heading(), tablesOf(f.rows), answersText(f.scenarios), f.modesText()}, "\n\n")
}

// tablesOf is the part that does not tell of this machine: the legend and the
// matrices.
func tablesOf(rows []survey.Row) string {
	l := lettersFor(rows)
	parts := []string{l.legend()}
	for _, same := range grouped(matricesOf(rows), func(m matrix) string { return m.protocol + m.text(l) }) {
		parts = append(parts, titleOf(same)+"\n"+same[0].text(l))
	}
	return strings.Join(parts, "\n\n")
}

// titleOf names matrices of one protocol that do not differ.
func titleOf(same []matrix) string {
	var states []string
	for _, m := range same {
		states = append(states, m.state)
	}
	return same[0].protocol + ", the first socket is " + strings.Join(states, " or ")
}

// heading says what the columns and rows of the matrices are.
func (f findings) heading() string {
	lines := []string{
		fmt.Sprintf("One port in two sockets of %s, tried by %v.", f.system, buildVersion()),
		"",
		"A is SO_REUSEADDR and P is SO_REUSEPORT, set before bind. Rows are the addresses of the first and",
		"second socket, columns the first one's options and, within each, the second one's.",
		"",
	}
	for _, kind := range f.host.Addresses() {
		address := shown(f.host.Addr(kind))
		if address == "" {
			address = "an interface's"
		}
		lines = append(lines, strings.TrimRight(fmt.Sprintf("  %-3s  %-22v %s", marks[kind], address, notes[kind]), " "))
	}
	for _, left := range f.host.LeftOut() {
		kind, why, _ := strings.Cut(left, ": ")
		lines = append(lines, fmt.Sprintf("  %-3s  not tried: %s", markOf(kind), why))
	}
	return strings.Join(lines, "\n")
}

// shown is an address as it is printed: not at all if it is this machine's own,
// since people are asked to send in what is printed.
func shown(addr netip.Addr) string {
	if addr.IsUnspecified() || addr.IsLoopback() || addr.IsMulticast() {
		return addr.String()
	}
	return ""
}

// markOf returns the mark of a kind of address that is called by its name.
func markOf(name string) string {
	for kind, mark := range marks {
		if kind.String() == name {
			return mark
		}
	}
	return name
}

// notes say about the addresses what they do not show.
var notes = map[survey.Address]string{
	survey.Wild6:    "for IPv6 only (IPV6_V6ONLY)",
	survey.WildDual: "for IPv4 as well",
	survey.Group4:   "a multicast group",
	survey.Group6:   "a multicast group",
}

// answersText lists the scenarios: for each question the different answers, and
// under each of these the variants that have it.
func answersText(scenarios []survey.Scenario) string {
	var text []string
	for _, question := range grouped(scenarios, func(s survey.Scenario) string { return s.Name }) {
		lines := []string{question[0].Question}
		for _, answer := range grouped(question, answerOf) {
			lines = append(lines, wrapped(answerOf(answer[0]), "  ")...)
			lines = append(lines, variantsOf(answer)...)
		}
		text = append(text, strings.Join(lines, "\n"))
	}
	return strings.Join(text, "\n\n")
}

func answerOf(s survey.Scenario) string {
	if s.Skipped != "" {
		return "not tried: " + s.Skipped
	}
	return s.Result
}

// variantsOf names the variants of an answer: what they have in common once, in
// front.
func variantsOf(answer []survey.Scenario) (lines []string) {
	common := func(s survey.Scenario) string { return s.Variant[:strings.LastIndex(s.Variant, ", ")+1] }
	for _, list := range grouped(answer, common) {
		var last []string
		for _, s := range list {
			last = append(last, strings.TrimSpace(s.Variant[len(common(s)):]))
		}
		text := strings.Join(last, ", ")
		if c := strings.TrimSuffix(common(list[0]), ","); c != "" {
			text = c + ": " + text
		}
		lines = append(lines, wrapped(text, "      ")...)
	}
	return lines
}

// width is how wide a line may be.
const width = 100

// wrapped breaks a text into indented lines.
func wrapped(text, indent string) (lines []string) {
	line := indent
	for i, word := range strings.Fields(text) {
		if i > 0 && len(line)+1+len(word) > width {
			lines, line = append(lines, line), indent+" "
		}
		if i > 0 {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// grouped puts together what has the same key, in the order of the first ones.
func grouped[T any](list []T, key func(T) string) (groups [][]T) {
	place := make(map[string]int)
	for _, item := range list {
		i, ok := place[key(item)]
		if !ok {
			i = len(groups)
			place[key(item)], groups = i, append(groups, nil)
		}
		groups[i] = append(groups[i], item)
	}
	return groups
}

// modesText says which of peerd's modes work here.
func (f findings) modesText() string {
	lines := []string{"What peerd can do with its one local port here"}
	for _, m := range []struct {
		mode reuse.Mode
		why  error
		what string
	}{
		{reuse.Shared, f.NotShared, "a listener, the server's connection and all dials share it"},
		{reuse.DialOnly, f.NotDialOnly, "no listener: all dials share it, and meet the peer's"},
		{reuse.Sequential, nil, "one socket at a time"},
	} {
		line := fmt.Sprintf("  %-11v works: %s", m.mode, m.what)
		if m.why != nil {
			line = fmt.Sprintf("  %-11v does not work: %v", m.mode, m.why)
		}
		lines = append(lines, line)
	}
	pinned, quiet := "may get connections that are meant for peerd", "not possible"
	if f.Pinned {
		pinned = "gets nothing, but for an address that it has to itself: the port is pinned"
	}
	if f.QuietDial {
		quiet = "possible"
	}
	return strings.Join(append(lines,
		"  a second listener of this user: "+pinned,
		"  dials that open this side's NAT and end before the peer's: "+quiet,
		fmt.Sprintf("peerd uses mode %v.", f.Mode),
	), "\n")
}
