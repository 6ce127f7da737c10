package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/peerd/peerd/punch/reuse/survey"
)

// marks are the kinds of address as the matrices call them.
var marks = map[survey.Address]string{
	survey.Wild4: "*4", survey.Loop4: "lo4", survey.Specific4: "ip4",
	survey.Wild6: "*6", survey.Loop6: "lo6", survey.Specific6: "ip6",
	survey.WildDual: "*46", survey.Group4: "mc4", survey.Group6: "mc6",
}

// cells are the outcomes of a pair of addresses with all pairs of options.
type cells [16]survey.Outcome

// addressPair is a first and a second socket's address.
type addressPair struct{ first, second survey.Address }

// matrix is what was found for a protocol and a state of the first socket.
type matrix struct {
	protocol, state string
	pairs           map[addressPair]cells
}

// matricesOf sorts rows into matrices, in the order in which they come.
func matricesOf(rows []survey.Row) (list []matrix) {
	for _, rows := range grouped(rows, func(r survey.Row) string { return r.Case.Protocol() + r.Case.State.String() }) {
		c := rows[0].Case
		m := matrix{strings.ToUpper(c.Protocol()), c.State.String(), make(map[addressPair]cells)}
		for _, r := range rows {
			pair := addressPair{r.Case.First, r.Case.Second}
			row := m.pairs[pair]
			row[r.Case.FirstOptions*4+r.Case.SecondOptions] = r.Outcome
			m.pairs[pair] = row
		}
		list = append(list, m)
	}
	return list
}

// letters stand for the outcomes that occurred.
type letters map[survey.Outcome]string

// lettersFor gives + to success, a dot where an option cannot be set, x
// to the commonest failure, and a, b, c … to the rest as they become rarer.
func lettersFor(rows []survey.Row) letters {
	counts := make(map[survey.Outcome]int)
	for _, r := range rows {
		counts[r.Outcome]++
	}
	byCount := slices.SortedFunc(maps.Keys(counts), func(a, b survey.Outcome) int {
		return cmp.Or(counts[b]-counts[a], cmp.Compare(a.First, b.First), cmp.Compare(a.Bind, b.Bind),
			cmp.Compare(a.Connect, b.Connect), cmp.Compare(a.Listen, b.Listen))
	})
	l, rest := make(letters), "xabcdefghijklmnopqrstuvwyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	for _, o := range byCount {
		switch {
		case !failed(o):
			l[o] = "+"
		case lacksOption(o):
			l[o] = "."
		case rest == "":
			l[o] = "?"
		default:
			l[o], rest = rest[:1], rest[1:]
		}
	}
	return l
}

// failed reports whether something that was tried failed.
func failed(o survey.Outcome) bool {
	return o.First != "" || o.Bind != "" || o.Connect != "" || o.Listen != "" && o.Listen != survey.NotTried
}

// lacksOption reports whether an option was asked for that cannot be set here.
func lacksOption(o survey.Outcome) bool { return isLack(o.First) || isLack(o.Bind) }

func isLack(step string) bool {
	return step == survey.NoReusePort || strings.HasPrefix(step, "setsockopt ")
}

// conflicts reports whether the sockets are in each other's way.
func conflicts(o survey.Outcome) bool { return failed(o) && !lacksOption(o) }

// legend explains the letters, a line each.
func (l letters) legend() string {
	lines := []string{"  +  both sockets have the port: the second binds, connects and, for TCP, listens"}
	for _, o := range slices.SortedFunc(maps.Keys(l), func(a, b survey.Outcome) int { return strings.Compare(l[a], l[b]) }) {
		if failed(o) {
			lines = append(lines, fmt.Sprintf("  %s  %s", l[o], explained(o)))
		}
	}
	return strings.Join(slices.Compact(lines), "\n")
}

// explained says how a case failed.
func explained(o survey.Outcome) string {
	if lacksOption(o) {
		return "an option cannot be set: " + cmp.Or(o.First, o.Bind)
	}
	if o.First != "" {
		return "there is no first socket: " + o.First
	}
	if o.Bind != "" {
		return "the second: " + call("bind", o.Bind)
	}
	var steps []string
	for _, step := range []struct{ call, errno string }{{"connect", o.Connect}, {"listen", o.Listen}} {
		switch step.errno {
		case survey.NotTried:
		case "":
			steps = append(steps, step.call+" succeeds")
		default:
			steps = append(steps, call(step.call, step.errno))
		}
	}
	return "the second: bind succeeds, " + strings.Join(steps, ", ")
}

// call puts a call's name in front of an errno that has none.
func call(name, errno string) string {
	if strings.Contains(errno, " ") {
		return errno
	}
	return name + " " + errno
}

// text lays a matrix out: a line for each first address, with the second ones
// that have the same outcomes, and those pairs last that nothing is wrong with.
func (m matrix) text(l letters) string {
	var lines, harmless [][3]string
	for _, row := range m.distinct() {
		block := m.labels(row)
		for i := range block {
			block[i][2] = l.spell(row)
		}
		if !slices.ContainsFunc(row[:], conflicts) {
			harmless = append(harmless, block...)
		} else {
			lines = append(lines, block...)
		}
	}
	if len(harmless) > 1 {
		harmless = [][3]string{{"all other pairs", "", harmless[0][2]}}
	}
	return layOut(append(lines, harmless...))
}

// spell writes a row, under its headings.
func (l letters) spell(row cells) string {
	var text strings.Builder
	for i, o := range row {
		if i%4 == 0 {
			text.WriteString("  ")
		}
		text.WriteString("  " + l[o])
	}
	return text.String()
}

// distinct returns the different rows, in the order of the pairs.
func (m matrix) distinct() (rows []cells) {
	for _, pair := range m.ordered() {
		if row := m.pairs[pair]; !slices.Contains(rows, row) {
			rows = append(rows, row)
		}
	}
	return rows
}

func (m matrix) ordered() []addressPair {
	return slices.SortedFunc(maps.Keys(m.pairs), func(a, b addressPair) int {
		return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(a.second, b.second))
	})
}

// labels names the pairs that have a row: first addresses with the same second
// ones stand together.
func (m matrix) labels(row cells) (labels [][3]string) {
	seconds := make(map[survey.Address]string)
	for _, pair := range m.ordered() {
		if m.pairs[pair] == row {
			seconds[pair.first] = strings.TrimSpace(seconds[pair.first] + " " + marks[pair.second])
		}
	}
	for _, first := range slices.Sorted(maps.Keys(seconds)) {
		i := slices.IndexFunc(labels, func(label [3]string) bool { return label[1] == seconds[first] })
		if i < 0 {
			labels = append(labels, [3]string{marks[first], seconds[first]})
		} else {
			labels[i][0] += " " + marks[first]
		}
	}
	return labels
}

// layOut aligns the columns under their headings.
func layOut(lines [][3]string) string {
	headings := [][3]string{{"", "options: first", ""}, {"first", "second", ""}}
	for _, options := range []survey.Options{survey.None, survey.Addr, survey.Port, survey.Both} {
		headings[0][2] += fmt.Sprintf("    %-10v", options)
		headings[1][2] += "    -  A  P AP"
	}
	var width [2]int
	for _, line := range lines {
		if line[1] != "" {
			width[0], width[1] = max(width[0], len(line[0])), max(width[1], len(line[1]))
		}
	}
	width[0], width[1] = max(width[0], len(headings[1][0])), max(width[1], len(headings[0][1]))
	var text strings.Builder
	for _, line := range append(headings, lines...) {
		label := line[0]
		if line[1] != "" {
			label = fmt.Sprintf("%-*s  %s", width[0], line[0], line[1])
		}
		fmt.Fprintln(&text, strings.TrimRight(fmt.Sprintf("  %-*s%s", width[0]+2+width[1], label, line[2]), " "))
	}
	return strings.TrimSuffix(text.String(), "\n")
}
