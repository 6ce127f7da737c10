package sim

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Profile is a NAT that a side can be behind, or several in a row. The zero value is
// none: the host has a public address.
type Profile struct {
	Name string
	// Kernel makes it Linux's masquerade, which is endpoint-independent or has a
	// mapping for each connection, preserves ports or draws them, and filters by
	// address and port.
	Kernel bool
	// User makes it a NAT without connection tracking.
	User bool
	// Proxy makes it a router on which TCP ends; it is none of the other two.
	Proxy bool
	// Outer is what this NAT is itself behind, nil for the network.
	Outer *Profile
	// Shared makes it a profile of both hosts.
	Shared Sharing

	Answer  Answer        // to what is unsolicited
	Limited bool          // 25 answers a second after a burst of 50, then drop
	After   time.Duration // how late the answer is, unless a SYN leaves for there meanwhile

	Mapping    Mapping
	Allocation Allocation
	Filtering  Filtering
	Inbound    Inbound
	OnRST      ErrorPolicy
	OnICMP     ErrorPolicy
	BlockFor   time.Duration // of DeleteAndBlock
	Tracking   Tracking
	Hairpin    Hairpin
	// Poisoned has an unsolicited SYN take the outside port that it came to: what
	// is sent to where it came from then leaves from another one.
	Poisoned bool

	Delta      int     // of Sequential; 0 is 1
	Background float64 // mappings that others open in a second
	Size       int     // of Block
	Parity     bool    // outside ports are as even as inside ones
	Fallback   Fallback

	Addresses int // outside; 0 is 1
	Pooling   Pooling
	Quota     Quota

	SynSent     time.Duration // how long an unanswered SYN is remembered; 0 is 120 s
	Established time.Duration // and an idle connection; 0 is more than any case takes
	ExpiredRST  bool          // a RST answers segments from inside that belong to nothing
}

func (p Profile) step() int { return cmp.Or(p.Delta, 1) }

// translates reports whether there is a NAT at all.
func (p Profile) translates() bool { return p.Kernel || p.User || p.Proxy }

// Sharing says what of a profile both hosts have in common.
type Sharing uint8

const (
	NotShared     Sharing = iota
	SharedLAN             // both are on one network behind one NAT
	SharedCarrier         // the outer NAT
)

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
	EIM           Mapping = iota // all
	ADM                          // those with one address
	APDM                         // one
	PerConnection                // none: the next connection has another one
)

// Allocation says how a new mapping's outside port is chosen.
type Allocation uint8

const (
	Preserving Allocation = iota // the inside port, or what Fallback says
	Sequential                   // the last one plus Delta
	Random
	Block // at random in a range of Size
)

// Fallback is what Preserving does where the inside port is taken.
type Fallback uint8

const (
	FallbackRandom     Fallback = iota // a random one, for all destinations
	FallbackPerFlow                    // a random one for each destination
	FallbackSequential                 // the next one
	FallbackNone                       // no connection
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

// Tracking is what a NAT makes of sequence numbers. Its zero value is what is usual:
// strict in a kernel, nothing elsewhere.
type Tracking uint8

const (
	UsualTracking Tracking = iota
	Liberal                // nothing
	Strict                 // what is not in the window is dropped
	RewriteISN             // each session has its own outside
)

// Hairpin is what a segment from inside to the NAT's own address meets (RFC 5382,
// REQ-8).
type Hairpin uint8

const (
	HairpinNone     Hairpin = iota // dropped
	HairpinReset                   // a RST
	HairpinInternal                // delivered with its inside source
	HairpinExternal                // delivered from its mapping
)

// Pooling says which outside address a mapping gets (RFC 4787, 4.1).
type Pooling uint8

const (
	Paired    Pooling = iota // all mappings of an inside address have one
	Arbitrary                // each mapping has any
)

// Quota bounds what an inside address may use; 0 is no bound.
type Quota struct {
	Ports, Sessions int     // at a time
	SYNs, Burst     float64 // a second after a burst
}

// Profiles returns the profiles of package natlab, by their names there. The caller
// owns the result.
func Profiles() []Profile {
	return slices.Concat(kernelProfiles(), userProfiles(), composedProfiles())
}

func kernelProfiles() []Profile {
	list := []Profile{
		{Name: "linux-drop"},
		{Name: "openwrt", Answer: Reset, Limited: true, Established: 7440 * time.Second},
		{Name: "linux-open", Answer: Reset},
		{Name: "linux-icmp", Answer: Unreachable},
		{Name: "linux-random", Mapping: PerConnection, Allocation: Random},
		{Name: "dmz-poison", Poisoned: true},
		{Name: "mikrotik", SynSent: 5 * time.Second, Established: 24 * time.Hour},
	}
	for i := range list {
		list[i].Kernel, list[i].Hairpin, list[i].OnRST, list[i].Tracking = true, HairpinReset, Delete, Strict
	}
	return append([]Profile{{Name: "public"}, {Name: "proxy", Proxy: true, Mapping: PerConnection, Allocation: Random}}, list...)
}

func userProfiles() []Profile {
	list := []Profile{
		{Name: "pfsense", Mapping: APDM, Allocation: Random, Tracking: Strict},
		{Name: "static-port", Fallback: FallbackNone, Tracking: Strict},
		{Name: "fullcone", Filtering: EIF},
		{Name: "rfc5382", Filtering: ADF, Answer: Unreachable, After: 6 * time.Second, Hairpin: HairpinExternal},
		{Name: "sym-seq", Mapping: APDM, Allocation: Sequential},
		{Name: "strict-no-so", Inbound: DropInbound},
		{Name: "rst-kill", Answer: Reset, OnRST: DeleteAndBlock, BlockFor: 10 * time.Second},
		carrierEIM(),
		{Name: "cgn-arbitrary", Allocation: Random, Addresses: 4, Pooling: Arbitrary},
		{Name: "cgn-sym-block", Mapping: APDM, Allocation: Block, Size: 1024, Quota: Quota{Sessions: 512}},
		{Name: "cellular-seq", Mapping: APDM, Allocation: Sequential, Background: 50},
		{Name: "asa", Mapping: APDM, Allocation: Random, Tracking: RewriteISN},
		{Name: "aws-natgw", Mapping: APDM, Allocation: Random, Established: 350 * time.Second, ExpiredRST: true},
		{Name: "user-drop"},
		{Name: "user-rst", Answer: Reset, OnRST: Delete},
		{Name: "user-icmp", Answer: Unreachable, OnICMP: Delete},
		{Name: "user-sym-random", Mapping: APDM, Allocation: Random},
	}
	for i := range list {
		list[i].User = true
	}
	return list
}

func carrierEIM() Profile {
	return Profile{Name: "cgn-eim", User: true, Allocation: Block, Size: 1024, Filtering: EIF, Addresses: 4}
}

func composedProfiles() []Profile {
	carrier := carrierEIM()
	double := named("openwrt")
	double.Name, double.Outer = "double", &carrier
	shared := double
	shared.Name, shared.Shared = "same-cgn", SharedCarrier
	lan := named("linux-drop")
	lan.Name, lan.Shared = "same-nat", SharedLAN
	return []Profile{double, lan, shared}
}

func named(name string) Profile {
	list := kernelProfiles()
	return list[slices.IndexFunc(list, func(p Profile) bool { return p.Name == name })]
}

// aliases are the names that some profiles had before, as in package natlab.
var aliases = map[string]string{"user-fullcone": "fullcone", "user-sym-seq": "sym-seq", "user-cgn-eim": "cgn-eim"}

// ProfileByName returns one of Profiles, also by the name that it had before.
func ProfileByName(name string) (Profile, error) {
	for _, p := range Profiles() {
		if p.Name == cmp.Or(aliases[name], name) {
			return p, nil
		}
	}
	return Profile{}, fmt.Errorf("sim: no profile %q", name)
}
