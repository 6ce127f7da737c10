package main

import (
	"os"
	"strings"
	"testing"

	"github.com/peerd/peerd/punch/natlab"
)

// The tables through tunnels are a claim: TestClaims tries it.

// TestAbortsOverPlainTCP shows that the table promises of applications what TCP
// without any tunnel does.
func TestAbortsOverPlainTCP(t *testing.T) {
	natlab.Require(t)
	t.Parallel()
	lab, err := natlab.New(natlab.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer lab.Close()
	cells := abortCells(senderEnds, senderResets, senderKilled, receiverKilled)
	for _, r := range runEach(t.Context(), plainTCP(lab.A, len(cells)), cells) {
		if r.err != nil {
			t.Errorf("%v: %v", r.cell, r.err)
		}
	}
}

// Each event at each moment in each direction is in exactly one group.
func TestAbortsAreComplete(t *testing.T) {
	count := map[abortExperiment]int{}
	for _, g := range abortGroups() {
		for _, c := range g.cells {
			count[c]++
		}
	}
	var want []abortExperiment
	for e := range abortTable {
		want = append(want, abortCells(abortEvent(e))...)
	}
	want = append(want, remote(abortCells(senderEnds, senderResets, senderKilled, receiverKilled, senderPeerdKilled, receiverPeerdKilled))...)
	for e := range ncToTarget {
		want = append(want, ncCells(ncEvent(e))...)
	}
	for _, c := range want {
		if count[c] != 1 {
			t.Errorf("%v is tried %d times", c, count[c])
		}
		if c, ok := c.(abortCell); ok && abortTable[c.event][c.moment] == (abortOutcome{}) {
			t.Errorf("%v: the table says nothing", c)
		}
	}
	if len(count) != len(want) {
		t.Errorf("%d cells, want %d", len(count), len(want))
	}
}

// docs/aborts.md shows the tables.
func TestAbortsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../docs/aborts.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, table := range []string{abortMarkdown(), ncMarkdown(true), ncMarkdown(false)} {
		if !strings.Contains(string(doc), "\n\n"+table+"\n") {
			t.Errorf("docs/aborts.md lacks this table:\n%s", table)
		}
	}
}
