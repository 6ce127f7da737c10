package main

import (
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/punch/recording"
)

// TestJSONIsDocumented holds docs/json.md to what is printed.
func TestJSONIsDocumented(t *testing.T) {
	documented := documentedFields(t)
	printed := map[string]any{
		"id": idAnswer{"x"}, "ping": pingAnswer{}, "version": versionAnswer{Revision: "x", Modified: new(bool)},
		"peers":   peerAnswer{PermitOpen: []string{"x"}, PermitListen: []string{}, From: []string{}},
		"sockets": socketsAnswer{Addresses: map[string]string{}, LeftOut: []string{}, Cases: []caseAnswer{{}}, Scenarios: []scenarioAnswer{{}}},
		"cases":   caseAnswer{}, "scenarios": scenarioAnswer{},
		"doctor": doctorAnswer{NAT: peer.NATStatus{Samples: []uint16{1}, Unknown: map[string]string{}}, Peer: new(peerDiagnosis)},
		"peer":   peerDiagnosis{NAT: &recording.NAT{}, Plan: []plannedDial{{}}, Won: &recording.Won{}}, "plan": plannedDial{},
		"nat":              peer.NATStatus{Samples: []uint16{1}, Unknown: map[string]string{}},
		"connect --record": struct{}{}, "recording": recording.Line{Head: &recording.Head{}},
		"introduction": recording.Line{Introduction: &recording.Introduction{}}, "party": recording.Party{Candidates: []recording.Candidate{{}}, NAT: &recording.NAT{}},
		"candidate": recording.Candidate{}, "party.nat": recording.NAT{Samples: []uint16{1}},
		"event": recording.Line{Event: &recording.Event{}}, "result": recording.Line{Result: &recording.Result{Won: &recording.Won{}}}, "won": recording.Won{},
	}
	for command := range answersJSON {
		if documented[command] == nil || printed[command] == nil {
			t.Errorf("--json is for %s, which is not documented or not tested here", command)
		}
	}
	if got, want := slices.Sorted(maps.Keys(documented)), slices.Sorted(maps.Keys(printed)); !slices.Equal(got, want) {
		t.Errorf("documented are %v, printed %v", got, want)
	}
	for command, answer := range printed {
		if got := printedFields(t, answer); !reflect.DeepEqual(got, documented[command]) {
			t.Errorf("%s prints %v, documented are %v", command, got, documented[command])
		}
	}
}

// printedFields returns the types of an answer's fields.
func printedFields(t *testing.T, answer any) map[string]string {
	text, err := json.Marshal(answer)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(text, &fields); err != nil {
		t.Fatal(err)
	}
	types := make(map[string]string)
	for name, value := range fields {
		switch value := value.(type) {
		case string:
			types[name] = "string"
		case bool:
			types[name] = "bool"
		case float64:
			types[name] = "number"
		case map[string]any:
			types[name] = "object"
		case []any:
			types[name] = "[string]"
			if len(value) == 0 {
				continue
			}
			switch reflect.TypeOf(value[0]).Kind() {
			case reflect.Map:
				types[name] = "[object]"
			case reflect.Float64:
				types[name] = "[number]"
			}
		}
	}
	return types
}

// documentedFields returns the types of the fields, by command, or by the field
// whose elements they belong to.
func documentedFields(t *testing.T) map[string]map[string]string {
	text, err := os.ReadFile("../../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	all, command := make(map[string]map[string]string), ""
	for line := range strings.Lines(string(text)) {
		if heading, ok := strings.CutPrefix(strings.Replace(line, "### ", "## ", 1), "## "); ok {
			command = strings.TrimSpace(heading)
			all[command] = make(map[string]string)
		}
		cells := strings.Split(line, "|")
		if len(cells) < 4 || strings.Contains(line, "---") || strings.TrimSpace(cells[1]) == "field" {
			continue
		}
		all[command][strings.TrimSpace(cells[1])] = strings.TrimSpace(cells[2])
	}
	return all
}
