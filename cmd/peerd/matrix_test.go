package main

import (
	"strings"
	"testing"

	"github.com/peerd/peerd/punch/reuse/survey"
)

// madeUp are the rows of a system without SO_REUSEPORT on two addresses:
// SO_REUSEADDR on both shares what is the same, until somebody listens.
func madeUp() (rows []survey.Row) {
	for _, c := range []survey.Case{{First: survey.Wild4, Second: survey.Wild4}, {First: survey.Wild4, Second: survey.Loop4}, {First: survey.Loop4, Second: survey.Wild4}, {First: survey.Loop4, Second: survey.Loop4}} {
		for i := range 16 {
			c.FirstOptions, c.SecondOptions = survey.Options(i/4), survey.Options(i%4)
			o := survey.Outcome{}
			switch {
			case c.FirstOptions&survey.Port != 0:
				o = survey.Outcome{First: survey.NoReusePort, Bind: "-", Connect: "-", Listen: "-"}
			case c.SecondOptions&survey.Port != 0:
				o = survey.Outcome{Bind: survey.NoReusePort, Connect: "-", Listen: "-"}
			case c.First != c.Second:
			case c.FirstOptions&c.SecondOptions == 0:
				o = survey.Outcome{Bind: "EADDRINUSE", Connect: "-", Listen: "-"}
			default:
				o = survey.Outcome{Listen: "EADDRINUSE"}
			}
			rows = append(rows, survey.Row{Case: c, Outcome: o})
		}
	}
	return rows
}

func TestMatrix(t *testing.T) {
	const want = `  +  both sockets have the port: the second binds, connects and, for TCP, listens
  .  an option cannot be set: no SO_REUSEPORT
  a  the second: bind succeeds, connect succeeds, listen EADDRINUSE
  x  the second: bind EADDRINUSE

         options: first    -             A             P             AP
  first  second            -  A  P AP    -  A  P AP    -  A  P AP    -  A  P AP
  *4     *4                x  x  .  .    x  a  .  .    .  .  .  .    .  .  .  .
  lo4    lo4               x  x  .  .    x  a  .  .    .  .  .  .    .  .  .  .
  all other pairs          +  +  .  .    +  +  .  .    .  .  .  .    .  .  .  .`
	rows := madeUp()
	matrices, l := matricesOf(rows), lettersFor(rows)
	if len(matrices) != 1 {
		t.Fatalf("%d matrices, want 1", len(matrices))
	}
	if got := l.legend() + "\n\n" + matrices[0].text(l); got != want {
		t.Errorf("the matrix is\n%s\nwant\n%s", got, want)
	}
}

func TestTitle(t *testing.T) {
	if got, want := titleOf([]matrix{{protocol: "TCP", state: "bound"}, {protocol: "TCP", state: "connected"}}), "TCP, the first socket is bound or connected"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// TestExplained shows that each step that failed is named.
func TestExplained(t *testing.T) {
	for want, o := range map[string]survey.Outcome{
		"there is no first socket: bind EADDRNOTAVAIL":           {First: "bind EADDRNOTAVAIL", Bind: "-", Connect: "-", Listen: "-"},
		"an option cannot be set: setsockopt ENOPROTOOPT":        {Bind: "setsockopt ENOPROTOOPT", Connect: "-", Listen: "-"},
		"the second: bind succeeds, connect WSAEACCES":           {Connect: "WSAEACCES", Listen: "-"},
		"the second: bind succeeds, connect A, bind EADDRINUSE":  {Connect: "A", Listen: "bind EADDRINUSE"},
		"the second: bind succeeds, connect succeeds, listen ER": {Listen: "ER"},
	} {
		if got := explained(o); got != want {
			t.Errorf("%+v: %q, want %q", o, got, want)
		}
	}
}

func TestAnswersText(t *testing.T) {
	const want = `Why?
  both work
      listener first: P/P, AP/AP
      dialer first: A/A
  bind EADDRINUSE
      alone
  not tried: needs root
      another user

And?
  yes
      so`
	got := answersText([]survey.Scenario{
		{Name: "w", Question: "Why?", Variant: "listener first, P/P", Result: "both work"},
		{Name: "w", Question: "Why?", Variant: "alone", Result: "bind EADDRINUSE", Detail: "3 of 4"},
		{Name: "w", Question: "Why?", Variant: "dialer first, A/A", Result: "both work"},
		{Name: "w", Question: "Why?", Variant: "listener first, AP/AP", Result: "both work"},
		{Name: "w", Question: "Why?", Variant: "another user", Skipped: "needs root"},
		{Name: "a", Question: "And?", Variant: "so", Result: "yes"},
	})
	if got != want {
		t.Errorf("the answers are\n%s\nwant\n%s", got, want)
	}
}

func TestWrapped(t *testing.T) {
	for _, line := range wrapped(strings.Repeat("word ", 100), "    ") {
		if len(line) > width || !strings.HasPrefix(line, "    ") {
			t.Errorf("a line is %q", line)
		}
	}
}
