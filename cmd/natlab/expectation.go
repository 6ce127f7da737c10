package main

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"time"
)

// An expectation is what NAT.md's rules say of a pair of NATs: a symbol of the
// table and its meaning.
type expectation struct {
	Symbol byte
	Class  class
	Rule   string // of NAT.md, "What traverses what"
	Why    string
}

// class is a kind of expectation; expectations.txt defines them.
type class string

const (
	classDirect     class = "direct"
	classPredicted  class = "predicted"
	classSequential class = "sequential"
	classBlock      class = "block"
	classRandom     class = "random"
	classHopeless   class = "hopeless"
	classApart      class = "apart"
	classNone       class = "none"
)

// classes are all classes of pairs, the best first.
var classes = []class{classDirect, classPredicted, classSequential, classBlock, classRandom, classHopeless, classApart}

// connects reports whether the pairs of the class are to connect at all.
func (c class) connects() bool { return c != classHopeless && c != classApart }

// demand is what a class asks of the runs.
type demand struct {
	Rate   float64       // share of runs that connect at least
	Within time.Duration // what counts as connected, from the request to the first byte; 0 is any time
}

// lossyLimit is the time within which 95 % of the runs connect where packets are
// lost and nothing need be guessed.
const lossyLimit = 2 * time.Second

var demands = map[class]demand{
	classDirect:     {Rate: 1},
	classPredicted:  {Rate: 0.95},
	classSequential: {Rate: 0.90},
	classBlock:      {Rate: 0.99, Within: 2 * time.Second},
	classRandom:     {Rate: 0.99, Within: 5 * time.Second},
	classHopeless:   {},
	classApart:      {},
}

// hopelessLimit is how long a hopeless pair may take to be known as one.
func hopelessLimit(rtt time.Duration) time.Duration { return 500*time.Millisecond + 2*rtt }

// expectationTable is the square table of all pairs.
type expectationTable struct {
	names   []string // of the profiles, in order
	symbols map[byte]expectation
	rows    []string // a symbol for each column
}

//go:embed expectations.txt
var expectationsText string

// expectations is the committed table. That it can be parsed is tested.
var expectations = mustParseExpectations(expectationsText)

func mustParseExpectations(text string) *expectationTable {
	t, err := parseExpectations(text)
	if err != nil {
		panic(err)
	}
	return t
}

func parseExpectations(text string) (*expectationTable, error) {
	t := &expectationTable{symbols: make(map[byte]expectation)}
	for line := range strings.Lines(text) {
		if err := t.parseLine(strings.TrimRight(line, "\n")); err != nil {
			return nil, fmt.Errorf("expectations: %q: %w", strings.TrimSpace(line), err)
		}
	}
	return t, t.check()
}

func (t *expectationTable) parseLine(line string) error {
	fields := strings.Fields(line)
	switch {
	case len(fields) == 0 || line[0] == '#':
	case line[0] == '=':
		return t.parseSymbol(fields[1:])
	default:
		t.names = append(t.names, fields[0])
		t.rows = append(t.rows, strings.Join(fields[1:], ""))
	}
	return nil
}

func (t *expectationTable) parseSymbol(fields []string) error {
	if len(fields) < 4 || len(fields[0]) != 1 {
		return fmt.Errorf("not = SYMBOL CLASS RULE WHY")
	}
	e := expectation{Symbol: fields[0][0], Class: class(fields[1]), Rule: fields[2], Why: strings.Join(fields[3:], " ")}
	if e.Class != classNone && !slices.Contains(classes, e.Class) {
		return fmt.Errorf("there is no class %q", e.Class)
	}
	if _, twice := t.symbols[e.Symbol]; twice {
		return fmt.Errorf("symbol %q is there twice", e.Symbol)
	}
	t.symbols[e.Symbol] = e
	return nil
}

// check reports what keeps the table from being square and known.
func (t *expectationTable) check() error {
	for i, row := range t.rows {
		if len(row) != len(t.names) {
			return fmt.Errorf("expectations: row %s has %d symbols for %d profiles", t.names[i], len(row), len(t.names))
		}
		if slices.Index(t.names, t.names[i]) != i {
			return fmt.Errorf("expectations: row %s is there twice", t.names[i])
		}
		for _, symbol := range []byte(row) {
			if _, known := t.symbols[symbol]; !known {
				return fmt.Errorf("expectations: row %s has the unknown symbol %q", t.names[i], symbol)
			}
		}
	}
	return nil
}

// of returns what is expected of a pair, or false if the table does not know a
// profile of it.
func (t *expectationTable) of(a, b string) (e expectation, known bool) {
	i, j := slices.Index(t.names, a), slices.Index(t.names, b)
	if i < 0 || j < 0 {
		return e, false
	}
	return t.symbols[t.rows[i][j]], true
}
