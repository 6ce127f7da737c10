package main

import (
	"fmt"
)

// Where one end of a tunnel is the standard input and output of peerd nc, there is
// no reset: the exit code says how it ended, and 0 promises that everything has
// arrived.

// ncEvent is what happens.
type ncEvent int

const (
	stdinEnds ncEvent = iota
	stdoutGone
	targetCloses
	targetResets
	targetKilled
	ncKilled
	ncStopped
	runKilled
	runStopped
	ncPathCut
)

func (e ncEvent) String() string {
	return [...]string{
		"standard input ends", "nobody reads standard output any more", "the target closes", "the target resets (SO_LINGER 0)",
		"the target is killed (kill -9)", "nc is killed (kill -9)", "nc is stopped (SIGTERM)",
		"the target's peerd is killed (kill -9)", "the target's peerd is stopped (SIGTERM)", "the path goes dead",
	}[e]
}

// ncMoments are those of nc's table. Standard input stays open until the event.
var ncMoments = []abortMoment{beforeData, duringData, afterData}

const ncIsKilled = "killed"

// ncOutcome is how nc exits and what the target sees. The zero value is that of
// what does not happen.
type ncOutcome struct {
	exits  string  // its code, "1 or 9", or "killed"
	gets   amount  // of the receiver: standard output, or the target
	target endKind // unseen: it is dead, or has ended the connection itself
}

// text is the outcome in words.
func (o ncOutcome) text(toTarget bool) string {
	var text string
	switch o.exits {
	case "":
		return ""
	case ncIsKilled:
	default:
		text = "nc exits with " + o.exits
	}
	add := func(format string, args ...any) {
		if text != "" {
			text += "; "
		}
		text += fmt.Sprintf(format, args...)
	}
	if !toTarget {
		add("standard output: %v", o.gets)
		if o.target == reset {
			add("target: a reset")
		}
		return text
	}
	if o.target != unseen {
		add("target: %v", ending{o.gets, o.target})
	}
	return text
}

// ncGone is what becomes of nc and the target where what carries the tunnel dies.
var ncGone = [3]ncOutcome{{"1", nothing, reset}, {"1", prefix, reset}, {"1", all, reset}}

// ncToTarget is what must hold while standard input is sent to the target.
var ncToTarget = [...][3]ncOutcome{
	stdinEnds:    {{"0", nothing, clean}, {"0", all, clean}, {"0", all, clean}},
	stdoutGone:   {},
	targetCloses: {{"0", nothing, unseen}, {"1", prefix, unseen}, {"0", all, unseen}},      // with bytes unread it is a reset
	targetResets: {{"1 or 9", nothing, unseen}, {"1", prefix, unseen}, {"1", all, unseen}}, // so early, it may count as unreachable
	targetKilled: {{"0", nothing, unseen}, {"1", prefix, unseen}, {"0", all, unseen}},
	ncKilled:     {{ncIsKilled, nothing, reset}, {ncIsKilled, prefix, reset}, {ncIsKilled, all, reset}},
	ncStopped:    {{"143", nothing, reset}, {"143", prefix, reset}, {"143", all, reset}},
	runKilled:    ncGone,
	runStopped:   ncGone,
	ncPathCut:    ncGone,
}

// ncFromTarget is what must hold while the target sends to standard output.
var ncFromTarget = [...][3]ncOutcome{
	stdinEnds:    {},
	stdoutGone:   {1: {"141", prefix, reset}},
	targetCloses: {{"0", nothing, unseen}, {"0", all, unseen}, {"0", all, unseen}},
	targetResets: {{"1 or 9", nothing, unseen}, {"1", prefix, unseen}, {"1", all, unseen}},
	targetKilled: {{"0", nothing, unseen}, {"0", prefix, unseen}, {"0", all, unseen}}, // to the kernel that is an end
	ncKilled:     {{ncIsKilled, nothing, reset}, {ncIsKilled, prefix, reset}, {ncIsKilled, all, reset}},
	ncStopped:    {{"143", nothing, reset}, {"143", prefix, reset}, {"143", all, reset}},
	runKilled:    ncGone,
	runStopped:   ncGone,
	ncPathCut:    ncGone,
}

// ncCell is one experiment.
type ncCell struct {
	event    ncEvent
	moment   abortMoment
	toTarget bool
}

func (c ncCell) want() ncOutcome {
	if c.toTarget {
		return ncToTarget[c.event][c.moment]
	}
	return ncFromTarget[c.event][c.moment]
}

func (c ncCell) String() string {
	way := "target to standard output"
	if c.toTarget {
		way = "standard input to target"
	}
	return fmt.Sprintf("%s %s, %s", c.event, c.moment, way)
}

// ncCells are the cells of events in both directions, as far as they happen.
func ncCells(events ...ncEvent) (cells []abortExperiment) {
	for _, e := range events {
		for _, m := range ncMoments {
			for _, to := range []bool{true, false} {
				if c := (ncCell{e, m, to}); c.want() != (ncOutcome{}) {
					cells = append(cells, c)
				}
			}
		}
	}
	return cells
}

// ncMarkdown is the table for people, of one direction.
func ncMarkdown(toTarget bool) string {
	t := &table{Head: []string{"what happens"}}
	for _, m := range ncMoments {
		t.Head = append(t.Head, m.String())
	}
	for e := range ncToTarget {
		row, happens := []string{ncEvent(e).String()}, false
		for _, m := range ncMoments {
			text := ncCell{ncEvent(e), m, toTarget}.want().text(toTarget)
			row, happens = append(row, text), happens || text != ""
		}
		if happens {
			t.Rows = append(t.Rows, row)
		}
	}
	return t.String()
}
