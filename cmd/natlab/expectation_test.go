package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/peerd/peerd/punch/natlab"
)

// The table has all profiles that there are, each row every one of them, and no
// others.
func TestExpectationsKnowEveryProfile(t *testing.T) {
	for _, p := range natlab.Profiles() {
		if !slices.Contains(expectations.names, p.Name) {
			t.Errorf("expectations.txt has no row and column %s", p.Name)
		}
	}
	for _, name := range expectations.names {
		if _, err := natlab.ProfileByName(name); err != nil {
			t.Errorf("expectations.txt: %v", err)
		}
	}
}

// Nothing in the rules depends on who asked for the introduction.
func TestExpectationsAreSymmetric(t *testing.T) {
	for i, a := range expectations.names {
		for j, b := range expectations.names {
			if x, y := expectations.rows[i][j], expectations.rows[j][i]; x != y {
				t.Errorf("%s × %s is %c, the other way round %c", a, b, x, y)
			}
		}
	}
}

// The heading is for people, and must not lie to them.
func TestExpectationsHeading(t *testing.T) {
	longest := 0
	for _, name := range expectations.names {
		longest = max(longest, len(name))
	}
	comments, _, _ := strings.Cut(expectationsText, "\n"+expectations.names[0]+" ")
	lines := strings.Split(comments, "\n")
	lines = lines[len(lines)-longest:]
	for i, name := range expectations.names {
		column := longest + 2 + 2*i
		read := ""
		for _, line := range lines {
			if column < len(line) {
				read += line[column : column+1]
			}
		}
		if strings.TrimSpace(read) != name {
			t.Errorf("column %d is headed %q, the row is %s", i, strings.TrimSpace(read), name)
		}
	}
}

// Pairs picked from the rules by their numbers, apart from the table.
func TestExpectationsFollowTheRules(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want class
		rule string
	}{
		{"linux-drop", "linux-drop", classDirect, "1-5"},
		{"openwrt", "linux-open", classDirect, "1-5"},
		{"rst-kill", "rst-kill", classDirect, "1-5"},
		{"proxy", "public", classDirect, "8"},
		{"asa", "cgn-eim", classDirect, "8"},
		{"strict-no-so", "fullcone", classDirect, "8"},
		{"rfc5382", "aws-natgw", classDirect, "9"},
		{"sym-seq", "openwrt", classPredicted, "10"},
		{"cellular-seq", "sym-seq", classSequential, "10"},
		{"cgn-sym-block", "mikrotik", classBlock, "11"},
		{"linux-random", "strict-no-so", classRandom, "11"},
		{"linux-drop", "strict-no-so", classDirect, "12"},
		{"strict-no-so", "strict-no-so", classHopeless, "12"},
		{"asa", "cgn-sym-block", classHopeless, "13"},
		{"proxy", "proxy", classHopeless, "14"},
		{"same-cgn", "same-cgn", classApart, "14"},
		{"same-nat", "same-nat", classDirect, "7"},
		{"same-nat", "public", classNone, "-"},
	} {
		if e, known := expectations.of(c.a, c.b); !known || e.Class != c.want || e.Rule != c.rule {
			t.Errorf("%s × %s: %v by rule %s, want %v by %s", c.a, c.b, e.Class, e.Rule, c.want, c.rule)
		}
	}
}

func TestBadExpectations(t *testing.T) {
	const legend = "= d direct 1 why\n"
	for text, want := range map[string]string{
		legend + "a d d\nb d\n":   "row b has 1 symbols for 2 profiles",
		legend + "a d x\nb d d\n": `the unknown symbol 'x'`,
		legend + "a d d\na d d\n": "row a is there twice",
		legend + legend:           `symbol 'd' is there twice`,
		"= d lucky 1 why\n":       `no class "lucky"`,
		"= d direct 1\n":          "not = SYMBOL",
	} {
		if _, err := parseExpectations(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, known := expectations.of("linux-drop", "none"); known {
		t.Error("an unknown profile is known")
	}
}
