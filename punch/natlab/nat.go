package natlab

import "time"

// NAT is the behaviour of a userspace NAT. The zero value is the ordinary good home router: endpoint-independent mapping,
// port preserving, address-and-port-dependent filtering, simultaneous open accepted, unsolicited packets dropped, no hairpinning.
type NAT struct {
	Mapping    Mapping
	Allocation Allocation
	Filtering  Filtering

	// Addresses is the number of outside addresses: 0 means 1, and there are at most 8. Pooling says which one a mapping gets.
	Addresses int
	Pooling   Pooling

	// Unsolicited is the answer to a segment from outside that no mapping or filter lets in.
	Unsolicited Unsolicited
	// InboundAfterOutbound is what happens to a SYN from an endpoint to which a SYN went out and which has not answered yet
	// (RFC 5382 REQ-2: accept).
	InboundAfterOutbound InboundSYN

	// OnRST is what a RST from outside does to a session whose SYN is unanswered. The RST itself is passed on in any case.
	OnRST ErrorPolicy
	// OnICMP is what an ICMP error from outside does to such a session. The error is passed on in any case.
	OnICMP ErrorPolicy
	// BlockFor is how long [DeleteAndBlock] drops everything between the two endpoints.
	BlockFor time.Duration

	// Tracking is what the NAT makes of sequence numbers.
	Tracking Tracking
	// Quota bounds what one inside address may use.
	Quota Quota

	Hairpin Hairpin
	// Isolated keeps inside addresses from talking to each other without the NAT, as a carrier does with its subscribers.
	Isolated bool

	// SynSent is how long a session lives whose SYN is unanswered; 0 means 120 s.
	SynSent time.Duration
	// Established is how long an idle connection lives; 0 means 7440 s (RFC 5382 REQ-5's minimum is 7440 s too).
	Established time.Duration
	// ExpiredRST answers a segment from inside that belongs to no session with a RST. Otherwise it is dropped.
	ExpiredRST bool

	// Delay, Jitter and Loss are added to the site's link: one way, see [Config] for what they mean.
	Delay, Jitter time.Duration
	Loss          float64
}

const (
	defaultSynSent     = 120 * time.Second
	defaultEstablished = 7440 * time.Second
	// afterRST and afterFIN are conntrack's timeouts for a connection that was reset or closed.
	afterRST = 10 * time.Second
	afterFIN = 120 * time.Second
)

func (n *NAT) synSent() time.Duration     { return orDefault(n.SynSent, defaultSynSent) }
func (n *NAT) established() time.Duration { return orDefault(n.Established, defaultEstablished) }

func orDefault(d, def time.Duration) time.Duration {
	if d == 0 {
		return def
	}
	return d
}

// Mapping says for which destinations an inside endpoint keeps its outside port (RFC 4787 §4.1).
type Mapping uint8

const (
	EIM           Mapping = iota // endpoint-independent: one outside port for all destinations
	ADM                          // address-dependent: one for each destination address
	APDM                         // address-and-port-dependent: one for each destination address and port
	PerConnection                // a new one for each connection, also to the same destination
)

func (m Mapping) String() string {
	return name(m, "EIM", "ADM", "APDM", "per-connection")
}

// Filtering says who may send to a mapping (RFC 4787 §5).
type Filtering uint8

const (
	APDF Filtering = iota // address-and-port-dependent: endpoints that were sent to
	ADF                   // address-dependent: any port of an address that was sent to
	EIF                   // endpoint-independent: anyone
)

func (f Filtering) String() string { return name(f, "APDF", "ADF", "EIF") }

// Allocation says how a new mapping's outside port is chosen.
type Allocation struct {
	Kind AllocationKind
	// Delta is the step of Sequential; 0 means 1.
	Delta int
	// Size is the number of ports of Block, which is random for each inside address; 0 means 1024.
	Size int
	// Parity gives an even port for an even one and an odd one for an odd one (RFC 4787 §4.2.2).
	Parity bool
	// Fallback is what Preserving does where the inside port is taken outside.
	Fallback Fallback
	// Background is the rate (1/s) at which other subscribers take ports from a Sequential allocator, as a Poisson process.
	Background float64
}

// AllocationKind is a strategy of port allocation.
type AllocationKind uint8

const (
	Preserving AllocationKind = iota // the inside port, or what Fallback says where that is taken
	Sequential                       // the last one plus Delta
	Random                           // uniform in 1024–65535
	Block                            // uniform in a block of Size ports that belongs to the inside address
)

func (k AllocationKind) String() string {
	return name(k, "preserving", "sequential", "random", "block")
}

// Fallback is what becomes of an inside endpoint whose port is taken by another one.
type Fallback uint8

const (
	FallbackRandom     Fallback = iota // a random port, kept for all destinations that the mapping has, as Linux does
	FallbackPerFlow                    // a random port for each destination
	FallbackSequential                 // the next port that is free
	FallbackNone                       // it can't talk
)

func (f Fallback) String() string {
	return name(f, "random and kept", "random per flow", "sequential", "none")
}

// Pooling says which outside address a mapping gets (RFC 4787 §4.1).
type Pooling uint8

const (
	Paired    Pooling = iota // all mappings of an inside address have the same one; inside addresses take turns
	Arbitrary                // each mapping has any
)

func (p Pooling) String() string { return name(p, "paired", "arbitrary") }

// Tracking is what a NAT makes of sequence numbers.
type Tracking uint8

const (
	Liberal    Tracking = iota // nothing
	Strict                     // what is not in the window is dropped, as netfilter does
	RewriteISN                 // each session has its own outside, by an offset; nothing is dropped
)

func (t Tracking) String() string { return name(t, "liberal", "strict", "ISN rewritten") }

// Quota bounds what one inside address may use; 0 means no bound. What is beyond it is dropped.
type Quota struct {
	Ports    int // mappings at a time
	Sessions int // sessions at a time
	// SYNs is the rate (1/s) at which SYNs may leave after a Burst of them, retransmissions included.
	SYNs, Burst float64
}

// Answer is what a SYN meets.
type Answer uint8

const (
	Silent      Answer = iota // nothing comes back
	Reset                     // a RST
	Unreachable               // an ICMP destination unreachable
	Accepted                  // a connection
)

func (a Answer) String() string { return name(a, "silent", "RST", "ICMP", "accepted") }

// Unsolicited is the answer to unsolicited segments. The zero value drops them.
type Unsolicited struct {
	Answer Answer // Silent, Reset or Unreachable (port unreachable)
	// Rate limits the answers per second after a Burst, the rest is dropped. Rate 0 means no limit.
	Rate, Burst float64
	// After delays the answer to a SYN, and omits it if in the meantime a SYN leaves for the endpoint that sent it (RFC 5382
	// REQ-4, where it is 6 s). 0 means at once.
	After time.Duration
}

// InboundSYN is the treatment of a SYN that crosses our own.
type InboundSYN uint8

const (
	AcceptInbound InboundSYN = iota
	DropInbound
	ResetInbound
)

// ErrorPolicy is what an error from outside does to a session in SYN_SENT.
type ErrorPolicy uint8

const (
	Keep           ErrorPolicy = iota // nothing
	Delete                            // the session is forgotten, and with the last one the mapping
	DeleteAndBlock                    // and the pair of endpoints can't talk for BlockFor
)

func (p ErrorPolicy) String() string { return name(p, "kept", "deleted", "deleted and blocked") }

// Hairpin is what a packet from inside to the NAT's outside address meets (RFC 5382 REQ-8).
type Hairpin uint8

const (
	HairpinNone     Hairpin = iota // dropped
	HairpinReset                   // a RST
	HairpinInternal                // delivered with its inside source address: the answer goes astray
	HairpinExternal                // delivered from its mapping, as RFC 5382 demands
)

// name is the text of an enumeration's value.
func name[T ~uint8](v T, names ...string) string {
	if int(v) < len(names) {
		return names[v]
	}
	return "invalid"
}
