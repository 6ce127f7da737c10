package linuxrules

import (
	"fmt"
	"strings"

	"github.com/peerd/peerd/punch/reuse/survey"
)

// A variant is how a scenario is asked: "HOW, FIRST/SECOND", "HOW, OPTIONS",
// without the how, or without the options.
type variant struct {
	how           string
	first, second survey.Options // the same where one is named for both
}

// answers has a function for each question that the rules decide. It returns ""
// for a variant that it does not know.
var answers = map[string]func(variant) string{
	"listener plus dialer":   listenerPlusDialer,
	"two dialers":            twoDialers,
	"same 4-tuple":           sameTuple4,
	"listen again":           listenAgain,
	"bind over TIME_WAIT":    bindOverTimeWait,
	"connect over TIME_WAIT": connectOverTimeWait,
	"dialled in TIME_WAIT":   dialledInTimeWait,
	"linger":                 linger,
	"two listeners":          twoListeners,
	"hijack":                 hijack,
	"peer's SYN":             peersSYN,
}

// ExpectResult returns what the rules make of a scenario. It is not known of one
// that was skipped, or that the rules do not have.
func ExpectResult(s survey.Scenario) (result string, known bool) {
	answer := answers[s.Name]
	if answer == nil || s.Skipped != "" {
		return "", false
	}
	result = answer(parse(s.Variant))
	return result, result != ""
}

// A ScenarioDifference is a scenario that did not end as the rules say.
type ScenarioDifference struct {
	survey.Scenario
	Want string
}

// String names the scenario in one line, with what was seen and what the rules
// say.
func (d ScenarioDifference) String() string {
	return fmt.Sprintf("%s: %s: %s; by the kernel's rules %s", d.Name, d.Variant, d.Result, d.Want)
}

// DifferScenarios returns the scenarios that did not end as the rules say, and
// how many it compared: the rules do not have all.
func DifferScenarios(list []survey.Scenario) (compared int, differ []ScenarioDifference) {
	for _, s := range list {
		want, known := ExpectResult(s)
		if known {
			compared++
		}
		if known && s.Result != want {
			differ = append(differ, ScenarioDifference{s, want})
		}
	}
	return compared, differ
}

func parse(text string) variant {
	how, named := "", text
	if i := strings.LastIndex(text, ", "); i >= 0 {
		how, named = text[:i], text[i+2:]
	}
	first, second, two := strings.Cut(named, "/")
	if !two {
		second = first
	}
	a, known := options(first)
	b, bothKnown := options(second)
	if !known || !bothKnown {
		return variant{how: text}
	}
	return variant{how, a, b}
}

func options(name string) (survey.Options, bool) {
	for o := survey.None; o <= survey.Both; o++ {
		if o.String() == name {
			return o, true
		}
	}
	return 0, false
}
