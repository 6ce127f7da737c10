package main

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/peerd/peerd/punch/reuse/survey"
	"github.com/peerd/peerd/punch/reuse/survey/linuxrules"
)

// TestSocketsAreDocumented holds docs/sockets.md to the kernel's rules: its
// tables are what "sockets" prints where they hold, which package linuxrules
// sees to, and every row that it names has the answer that it says.
func TestSocketsAreDocumented(t *testing.T) {
	file, err := os.ReadFile("../../docs/sockets.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(file)
	if tables := tablesOf(linuxrules.Rows()); !strings.Contains(doc, "\n"+tables+"\n") {
		t.Errorf("docs/sockets.md lacks these tables:\n%s", tables)
	}
	named := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| (.+) \\|$").FindAllStringSubmatch(doc, -1)
	if len(named) < 40 {
		t.Errorf("docs/sockets.md names %d rows, want at least 40", len(named))
	}
	for _, row := range named {
		if want := answerTo(row[1]); row[2] != want {
			t.Errorf("docs/sockets.md says of %q: %s, want %s", row[1], row[2], want)
		}
	}
}

// answerTo returns what the rules say of a row by its name: a case as in "TCP
// bound: *4/A then lo4/P", or a question and its variant.
func answerTo(name string) string {
	question, variant, _ := strings.Cut(name, ": ")
	if c, is := caseNamed(name); is {
		o := linuxrules.Expect(c)
		if !failed(o) {
			return "both"
		}
		return strings.TrimPrefix(explained(o), "the second: ")
	}
	answer, known := linuxrules.ExpectResult(survey.Scenario{Name: question, Variant: variant})
	if !known {
		return "nothing: there is no such row"
	}
	return answer
}

var caseName = regexp.MustCompile(`^(TCP|UDP) (\w+): (\S+)/(\S+) then (\S+)/(\S+)$`)

// caseNamed finds the case that a name means.
func caseNamed(name string) (survey.Case, bool) {
	part := caseName.FindStringSubmatch(name)
	for _, row := range linuxrules.Rows() {
		c := row.Case
		if part != nil && strings.EqualFold(part[1], c.Protocol()) && part[2] == c.State.String() &&
			part[3] == marks[c.First] && part[4] == c.FirstOptions.String() &&
			part[5] == marks[c.Second] && part[6] == c.SecondOptions.String() {
			return c, true
		}
	}
	return survey.Case{}, false
}
