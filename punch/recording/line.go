package recording

import (
	"net/netip"
	"time"
)

// Version is that of the format. A reader refuses greater ones; fields and types
// of lines that it does not know, it skips.
const Version = 1

// Line is one line. Type says which of the others are set: exactly that one.
type Line struct {
	Type string    `json:"type"` // "recording", "introduction", "event" or "result"
	Time time.Time `json:"time"`

	*Head
	*Introduction
	*Event
	*Result
}

// The types of lines.
const (
	typeHead         = "recording"
	typeIntroduction = "introduction"
	typeEvent        = "event"
	typeResult       = "result"
)

// Head is the first line.
type Head struct {
	Version int    `json:"version"`
	Program string `json:"program"` // what wrote it, such as "peerd/1.0"
	Peer    string `json:"peer"`    // ID of the peer that is to be reached
}

// Introduction is what the server has told both sides: all that their plan is
// made from.
type Introduction struct {
	Role        string `json:"role"` // of the side that recorded: "initiator" or "responder"
	PlanVersion uint32 `json:"plan_version"`
	Initiator   Party  `json:"initiator"`
	Responder   Party  `json:"responder"`
}

// Party is one side of an introduction.
type Party struct {
	ID         string      `json:"id"`
	RTT        uint32      `json:"rtt_us"` // to the server; 0 is not measured
	Observed   string      `json:"observed"`
	Candidates []Candidate `json:"candidates"` // the party's own; never null
	PortMode   string      `json:"port_mode"`  // "shared", "dial-only", "sequential"
	NAT        *NAT        `json:"nat"`        // null is nothing known
	NoGuess    bool        `json:"no_guess"`   // it guesses no ports, nor has others guess its own
}

// Candidate is an address that a party has stated.
type Candidate struct {
	Kind    string `json:"kind"`
	Address string `json:"address"`
}

// NAT is a party's report of the NATs in front of it, in the words of
// proto.NATReport.
type NAT struct {
	Mapping     string   `json:"mapping"`
	Allocation  string   `json:"allocation"`
	Delta       int16    `json:"delta"`
	Low         uint16   `json:"low"`
	High        uint16   `json:"high"`
	Confidence  uint8    `json:"confidence"`
	Samples     []uint16 `json:"samples"` // never null
	Age         uint32   `json:"age_us"`
	Background  uint32   `json:"background_milli"`
	Pooling     string   `json:"pooling"`
	Filtering   string   `json:"filtering"`
	Unsolicited string   `json:"unsolicited"`
	Crossing    string   `json:"crossing"`
	OnReset     string   `json:"on_reset"`
	Poisoned    string   `json:"poisoned"`
	Hairpin     string   `json:"hairpin"`
	Hops        uint8    `json:"hops"`
	Proxied     string   `json:"proxied"`
}

// Event is one thing that punching did or saw.
type Event struct {
	At      int64  `json:"at_us"`   // since the plan's first dial was due; negative before
	Attempt int    `json:"attempt"` // number of the dial or accepted socket, from 1; 0 where none is meant
	What    string `json:"event"`   // "dialled", "failed", …: punch.EventKind
	Kind    string `json:"kind"`    // of the address; "" where none is meant
	Address string `json:"address"`
	Idea    string `json:"idea"`  // why that was dialled: punch.Idea; "" where nothing was
	Dials   int    `json:"dials"` // of "aimed", that there will be, and of "spent", that there were; else 0
	Errno   string `json:"errno"` // the name of the system's error, such as "ECONNREFUSED"; "" if there is none
	Error   string `json:"error"` // in words; "" if there is none
}

// Result is how an attempt to connect has ended.
type Result struct {
	Connected bool    `json:"connected"`
	TookMS    float64 `json:"took_ms"` // since this side asked for the introduction, or was told of it
	Remote    string  `json:"remote"`  // where the connection leads; "" without one
	RTTMS     float64 `json:"rtt_ms"`  // of the connection; 0 if not measured
	Won       *Won    `json:"won"`     // null without a connection, or where no event tells
	Failure   string  `json:"failure"` // why there is no connection; "" if there is
}

// Won is the attempt that became the connection.
type Won struct {
	How     string `json:"how"`  // "dialled" or "accepted"
	Kind    string `json:"kind"` // of the candidate; "" if that is not known of an accepted one
	Idea    string `json:"idea"` // of the dial; "" of an accepted one
	Attempt int    `json:"attempt"`
}

// addrPort is an endpoint as text, "" for none.
func addrPort(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
