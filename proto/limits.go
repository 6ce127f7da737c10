package proto

import "time"

// Version is the version of the control protocol that this package speaks. It
// stands in the header of every frame.
const Version = 1

// PlanVersion is the newest version of the punching plan that this build can
// make. An introduction uses the lower of the two peers' versions. Version 2
// knows port modes, version 3 has the initiator be deaf to ICMP errors and the
// responder wait quietly, version 4 knows NAT reports.
const PlanVersion = 4

// Application-layer protocol names (RFC 7301). They keep a handshake made for
// one of the two purposes from being used for the other.
const (
	ALPNServer = "peerd-rendezvous/1"
	ALPNPeer   = "peerd-peer/1"
)

// Hard limits. Whoever receives more than one of them allows closes the
// connection; nothing is allocated for what exceeds a limit.
const (
	// MaxPayload bounds the payload of one control frame, in bytes.
	MaxPayload = 16 << 10
	// MaxHostCandidates bounds the host candidates of one peer; all of them
	// have the same port.
	MaxHostCandidates = 8
	// MaxCandidates bounds the candidates of one peer in all.
	MaxCandidates = 16
	// MaxAnswersFor bounds the peers that a registration answers by name.
	MaxAnswersFor = 16
	// MaxProbePorts bounds the probe ports that a server announces.
	MaxProbePorts = 16
	// MaxText bounds every text that is meant for people, in bytes.
	MaxText = 256
	// MaxTarget bounds the name of a stream's target, in bytes, and an address
	// to listen at.
	MaxTarget = 255
	// ChunkHeader is the size of the length that precedes a chunk, in bytes.
	ChunkHeader = 4
	// MaxChunk bounds one chunk of stream data, in bytes: with its length
	// prefix and yamux's header it fills sixteen TLS records.
	MaxChunk = 16*16384 - ChunkHeader - 12
	// MaxUnproven bounds the accepted sockets of one node that have not yet
	// proved a preamble.
	MaxUnproven = 64
)

// Intervals that both ends of a connection rely on.
const (
	// KeepaliveMax is the longest silence of a client towards its server. It
	// is shorter than any NAT's timer for established connections that is in
	// use (240 s), and long enough for a sleeping radio.
	KeepaliveMax = 60 * time.Second
	// ServerIdle is the silence after which a server gives a client up.
	ServerIdle = 150 * time.Second
	// PreambleDeadline is how long an accepted socket may take to prove its
	// introduction.
	PreambleDeadline = 5 * time.Second
	// MaxWait is for how long a server keeps a request for a peer that does not
	// answer, at most.
	MaxWait = 60 * time.Second
)
