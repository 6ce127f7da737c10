package sim

import (
	"cmp"
	"fmt"
	"time"
)

// Profile is a NAT that a side can be behind. The zero value is none: the host
// has a public address.
type Profile struct {
	Name string
	// Kernel makes it Linux's masquerade: only Answer and Limited apply.
	Kernel bool
	// User makes it a NAT without connection tracking.
	User bool

	Answer  Answer // to what is unsolicited
	Limited bool   // 25 answers a second after a burst of 50, then drop

	Mapping    Mapping
	Allocation Allocation
	Filtering  Filtering
	Inbound    Inbound
	OnRST      ErrorPolicy
	OnICMP     ErrorPolicy
	BlockFor   time.Duration // of DeleteAndBlock
	// Poisoned has an unsolicited SYN take the outside port that it came to: what
	// is sent to where it came from then leaves from another one.
	Poisoned bool

	Delta      int     // of Sequential; 0 is 1
	Background float64 // mappings that others open in a second
	Size       int     // of Block
}

func (p Profile) step() int { return cmp.Or(p.Delta, 1) }

// translates reports whether there is a NAT at all.
func (p Profile) translates() bool { return p.Kernel || p.User }

// Answer is what an unsolicited segment meets.
type Answer uint8

const (
	Drop        Answer = iota // nothing
	Reset                     // a RST
	Unreachable               // an ICMP port unreachable
)

// Mapping says for which destinations the outside port stays (RFC 4787, 4.1).
type Mapping uint8

const (
	EIM  Mapping = iota // all
	ADM                 // those with one address
	APDM                // one
)

// Allocation says how a new mapping's outside port is chosen.
type Allocation uint8

const (
	Preserving Allocation = iota // the inside port, or a random one
	Sequential                   // the last one plus Delta
	Random
	Block // at random in a range of Size
)

// Filtering says who may send to a mapping (RFC 4787, 5).
type Filtering uint8

const (
	APDF Filtering = iota // endpoints that were sent to
	ADF                   // any port of an address that was sent to
	EIF                   // anyone
)

// Inbound is what a SYN meets that crosses one of ours (RFC 5382, REQ-2).
type Inbound uint8

const (
	AcceptInbound Inbound = iota
	DropInbound
	ResetInbound
)

// ErrorPolicy is what an error from outside does to an unanswered session.
type ErrorPolicy uint8

const (
	Keep ErrorPolicy = iota
	Delete
	DeleteAndBlock // and nothing passes between the two endpoints for BlockFor
)

// Profiles returns the profiles by the names that package natlab has for them.
// The caller owns the result.
func Profiles() []Profile {
	return []Profile{
		{Name: "public"},
		{Name: "linux-drop", Kernel: true},
		{Name: "linux-open", Kernel: true, Answer: Reset},
		{Name: "openwrt", Kernel: true, Answer: Reset, Limited: true},
		{Name: "linux-icmp", Kernel: true, Answer: Unreachable},
		{Name: "user-drop", User: true},
		{Name: "user-rst", User: true, Answer: Reset, OnRST: Delete},
		{Name: "user-icmp", User: true, Answer: Unreachable, OnICMP: Delete},
		{Name: "user-fullcone", User: true, Filtering: EIF},
		{Name: "user-sym-seq", User: true, Mapping: APDM, Allocation: Sequential},
		{Name: "user-sym-random", User: true, Mapping: APDM, Allocation: Random},
	}
}

// ProfileByName returns one of Profiles.
func ProfileByName(name string) (Profile, error) {
	for _, p := range Profiles() {
		if p.Name == name {
			return p, nil
		}
	}
	return Profile{}, fmt.Errorf("sim: no profile %q", name)
}
