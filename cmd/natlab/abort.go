package main

import (
	"fmt"
	"strings"
)

// What becomes of a connection through a tunnel when something happens to one of
// those who take part. Two applications have a TCP connection, each to the peerd
// beside it. One of them, the sender, sends; the other, the receiver, answers
// when it has all. The table says what the kernel tells the applications that
// are left; over plain TCP they are told the same of what happens to an
// application.

// abortEvent is what happens.
type abortEvent int

const (
	senderEnds abortEvent = iota
	senderResets
	senderKilled
	receiverKilled
	senderPeerdKilled
	receiverPeerdKilled
	senderPeerdStopped
	receiverPeerdStopped
	pathCut
)

func (e abortEvent) String() string {
	return [...]string{
		"the sender closes", "the sender resets (SO_LINGER 0)", "the sender is killed (kill -9)", "the receiver is killed (kill -9)",
		"the sender's peerd is killed (kill -9)", "the receiver's peerd is killed (kill -9)",
		"the sender's peerd is stopped (SIGTERM)", "the receiver's peerd is stopped (SIGTERM)",
		"the path goes dead",
	}[e]
}

// abortMoment is when it happens.
type abortMoment int

const (
	beforeData abortMoment = iota // the connection is open, nothing is sent
	duringData                    // the receiver has read some and has more unread, the sender is blocked
	afterData                     // the receiver has read everything; neither has ended
	inAnswer                      // the sender has ended; it has read some of the answer and has more unread
)

var abortMoments = []abortMoment{beforeData, duringData, afterData, inAnswer}

func (m abortMoment) String() string {
	return [...]string{"before data", "during data", "after data", "during the answer"}[m]
}

// amount is how much of what was sent to an application it gets.
type amount int

const (
	nothing amount = iota
	prefix         // some, and nothing but the beginning
	all
)

func (a amount) String() string { return [...]string{"nothing", "the beginning", "everything"}[a] }

// ending is what an application sees in the end. The zero value is that of one that
// sees nothing: it is dead, or has ended the connection itself.
type ending struct {
	gets amount
	end  endKind
}

type endKind int

const (
	unseen endKind = iota
	clean          // EOF
	reset          // ECONNRESET
	broken         // EOF of the other's bytes; its own sending fails with EPIPE or ECONNRESET
)

func (f ending) String() string {
	if f.end == unseen {
		return ""
	}
	return f.gets.String() + ", then " +
		[...]string{"", "EOF", "a reset", "EOF, and a reset of its answer"}[f.end]
}

// abortOutcome is what becomes of both.
type abortOutcome struct{ sender, receiver ending }

// String names who sees what.
func (o abortOutcome) String() string {
	var parts []string
	for _, who := range []struct {
		name   string
		ending ending
	}{{"receiver", o.receiver}, {"sender", o.sender}} {
		if who.ending.end != unseen {
			parts = append(parts, who.name+": "+who.ending.String())
		}
	}
	return strings.Join(parts, "; ")
}

// An abort of what carries the tunnel is a reset for both, whoever's peerd it
// was: no end is ever made up.
var tunnelGone = [4]abortOutcome{
	beforeData: {sender: ending{nothing, reset}, receiver: ending{nothing, reset}},
	duringData: {sender: ending{nothing, reset}, receiver: ending{prefix, reset}},
	afterData:  {sender: ending{nothing, reset}, receiver: ending{all, reset}},
	inAnswer:   {sender: ending{prefix, reset}, receiver: ending{all, broken}},
}

// abortTable is what must hold, in both directions.
var abortTable = [...][4]abortOutcome{
	senderEnds: {
		beforeData: {receiver: ending{nothing, clean}},
		duringData: {receiver: ending{all, clean}},
		afterData:  {receiver: ending{all, clean}},
		inAnswer:   {receiver: ending{all, broken}}, // to close with bytes unread is a reset (RFC 9293 §3.6.1, RFC 2525 §2.17)
	},
	senderResets: {
		beforeData: {receiver: ending{nothing, reset}},
		duringData: {receiver: ending{prefix, reset}},
		afterData:  {receiver: ending{all, reset}},
		inAnswer:   {receiver: ending{all, broken}},
	},
	// The kernel closes the sockets of a process that is killed: that is an end
	// if it had read everything, and a reset if not.
	senderKilled: {
		beforeData: {receiver: ending{nothing, clean}},
		duringData: {receiver: ending{prefix, clean}},
		afterData:  {receiver: ending{all, clean}},
		inAnswer:   {receiver: ending{all, broken}},
	},
	receiverKilled: {
		beforeData: {sender: ending{nothing, clean}},
		duringData: {sender: ending{nothing, reset}},
		afterData:  {sender: ending{nothing, clean}},
		inAnswer:   {sender: ending{prefix, clean}},
	},
	senderPeerdKilled:    tunnelGone,
	receiverPeerdKilled:  tunnelGone,
	senderPeerdStopped:   tunnelGone,
	receiverPeerdStopped: tunnelGone,
	pathCut:              tunnelGone, // once the session is given up, after 30 s
}

// abortMarkdown is the table for people.
func abortMarkdown() string {
	t := &table{Head: []string{"what happens"}}
	for _, m := range abortMoments {
		t.Head = append(t.Head, m.String())
	}
	for e, outcomes := range abortTable {
		row := []string{abortEvent(e).String()}
		for _, o := range outcomes {
			row = append(row, o.String())
		}
		t.Rows = append(t.Rows, row)
	}
	return t.String()
}

// abortCell is one experiment.
type abortCell struct {
	event   abortEvent
	moment  abortMoment
	reverse bool // B sends to A; else A to B
	remote  bool // by way of -R: B dials and A listens; else the other way round
}

func (c abortCell) String() string {
	way := "A to B"
	if c.reverse {
		way = "B to A"
	}
	if c.remote {
		way += " through -R"
	}
	return fmt.Sprintf("%s %s, %s", c.event, c.moment, way)
}
