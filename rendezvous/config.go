package rendezvous

import (
	"cmp"
	"log/slog"
	"math"
	"net/netip"
	"time"

	"golang.org/x/time/rate"

	"github.com/peerd/peerd/proto/identity"
)

// ServerConfig configures a Server. For every limit 0 means the default that
// is stated, and a negative value means no limit.
type ServerConfig struct {
	// Key proves the server's ID. It is required.
	Key *identity.Key
	// Logger gets what the server has to say; nil discards it.
	Logger *slog.Logger
	// ProbePorts are the TCP ports of this host on which ServeProbe runs.
	// Clients are told them when they register.
	ProbePorts []uint16
	// Alternate is another address of this host, at which ServeProbe runs on the
	// ProbePorts as well; the zero Addr is none.
	Alternate netip.Addr
	// Origins let clients have themselves dialled back, so that they can find out
	// what their NATs do; nil: the server dials nobody. They stay the caller's.
	Origins *Origins

	// MaxClients bounds the registrations, and besides them the lost ones that
	// are expected back; default 10,000. One source address gets a quarter of the
	// latter at most.
	MaxClients int
	// MaxClientsPerAddress bounds the registrations from one source address
	// (IPv6: one /64); default 1,024.
	MaxClientsPerAddress int
	// MaxInstances bounds the registrations of one ID, and besides them the lost
	// ones that are expected back; default 32.
	MaxInstances int
	// MaxPending bounds the connections that have not registered yet, those in
	// the TLS handshake included; default 1,024. One source address gets a
	// quarter of it at most.
	MaxPending int
	// MaxSTUN bounds the open STUN connections; default 1,024. One source
	// address gets a quarter of it at most.
	MaxSTUN int

	// ConnectionRate bounds the connections that one source address (IPv6: one
	// /64) opens per second, of any kind and to any port; default 20.
	ConnectionRate float64
	// ConnectionBurst is how many of them may come at once; default 200.
	ConnectionBurst int
	// IntroductionRate bounds the introductions that one ID requests per
	// second; default 5. All IDs at one source address get ten times that,
	// because IDs cost nothing.
	IntroductionRate float64
	// IntroductionBurst is how many of them one ID may request at once, and a
	// tenth of how many one source address may; default 30.
	IntroductionBurst int

	// DialBackRate bounds the dial-backs that one ID requests per second; default
	// 0.5. All IDs at one source address get ten times that.
	DialBackRate float64
	// DialBackBurst is how many of them one ID may request at once, and a tenth of
	// how many one source address may; default 32, enough for three measurements.
	DialBackBurst int

	// RestartGrace is how long introductions wait for a peer that is not
	// registered: counted from the first call of Serve, because after a restart
	// everybody is about to come back, and from the loss of the peer's last
	// registration. Default 3 s; negative means that they do not wait.
	RestartGrace time.Duration
}

func (c *ServerConfig) logger() *slog.Logger {
	return cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
}

func (c *ServerConfig) maxClients() int           { return limit(c.MaxClients, 10_000) }
func (c *ServerConfig) maxClientsPerAddress() int { return limit(c.MaxClientsPerAddress, 1024) }
func (c *ServerConfig) maxInstances() int         { return limit(c.MaxInstances, 32) }
func (c *ServerConfig) maxPending() int           { return limit(c.MaxPending, 1024) }
func (c *ServerConfig) maxSTUN() int              { return limit(c.MaxSTUN, 1024) }
func (c *ServerConfig) connectionRate() rate.Limit {
	return rateLimit(c.ConnectionRate, 20)
}
func (c *ServerConfig) connectionBurst() int { return limit(c.ConnectionBurst, 200) }
func (c *ServerConfig) introductionRate() rate.Limit {
	return rateLimit(c.IntroductionRate, 5)
}
func (c *ServerConfig) introductionBurst() int { return limit(c.IntroductionBurst, 30) }

func (c *ServerConfig) dialBackRate() rate.Limit { return rateLimit(c.DialBackRate, 0.5) }
func (c *ServerConfig) dialBackBurst() int       { return limit(c.DialBackBurst, 32) }

func (c *ServerConfig) restartGrace() time.Duration {
	return max(0, cmp.Or(c.RestartGrace, 3*time.Second))
}

func limit(n, byDefault int) int {
	if n < 0 {
		return math.MaxInt32 / idsPerSource // so that it can be multiplied
	}
	return cmp.Or(n, byDefault)
}

func rateLimit(perSecond float64, byDefault rate.Limit) rate.Limit {
	if perSecond < 0 {
		return rate.Inf
	}
	return cmp.Or(rate.Limit(perSecond), byDefault)
}

// How long the server waits for what.
const (
	// firstByteTimeout is for the byte that tells TLS from STUN.
	firstByteTimeout = 5 * time.Second
	// handshakeTimeout is for the TLS handshake after it.
	handshakeTimeout = 5 * time.Second
	// registerTimeout is for the Register message after the handshake.
	registerTimeout = 5 * time.Second
	// answerTimeout is for a client to answer an offer.
	answerTimeout = 10 * time.Second
	// pongTimeout is for the first round trip of both sides to be measured
	// once they have consented. The ping left right after Registered, so this
	// is reached only by a client that does not answer pings.
	pongTimeout = time.Second
	// repeatWindow is how long after an introduction a request of its
	// responder counts as one that crossed it on the way.
	repeatWindow = 2 * time.Second
	// stallTimeout is for the other side's TCP to take a write.
	stallTimeout = 10 * time.Second
	// lingerTimeout is for the other side to close after the last message to
	// it, so that unread data does not turn our FIN into a RST that destroys
	// that message on the way.
	lingerTimeout = time.Second
)

// idsPerSource is how many times the introductions of one ID all IDs at one
// source address get.
const idsPerSource = 10

// Bounds on what one client may keep the server busy with.
const (
	// maxQueue bounds the messages that wait for one client to read.
	maxQueue = 64
	// maxOffers bounds the unanswered offers to one client. It is below
	// maxQueue: strangers cannot overflow the queue of a client that is slow.
	maxOffers = 40
	// maxAsked bounds the unanswered requests for introductions of one client,
	// and those that are joined in one introduction.
	maxAsked = 32
	// messageRate and messageBurst bound the messages from one client per
	// second. A faster one is read more slowly.
	messageRate  = 200
	messageBurst = 400
)
