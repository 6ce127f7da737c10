package rendezvous

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
)

// ClientConfig configures a Client. Server, Key, Instance and Dial are
// required.
type ClientConfig struct {
	Server   proto.ServerURL
	Key      *identity.Key
	Instance proto.Token
	// Dial connects to the server, from the node's one local port. It is called
	// for every attempt, never concurrently, and has to end when ctx does.
	Dial func(ctx context.Context) (net.Conn, error)
	// Answers says that the client wants to be offered everybody's
	// introductions; AnswersFor names peers whose introductions it wants even
	// if Answers is false, at most proto.MaxAnswersFor.
	Answers    bool
	AnswersFor []proto.ID
	// PortMode is what peers are told of the node's one local port.
	PortMode proto.PortMode
	// NoGuess tells peers that this node guesses no ports, nor has others guess its own.
	NoGuess bool
	// Away is for how long the server expects the client back whenever its
	// connection ends, in whole seconds and at most proto.MaxWait; introductions
	// to it wait for that long. 0 leaves it to the server.
	Away time.Duration
	// Agent is the program and its version, for the server's log.
	Agent string

	// The functions below are called by the client's goroutines, never
	// concurrently, and must not block. They may call SetAnswersFor. Each may
	// be nil.

	// Offer decides on an introduction that a peer wants: this node's own
	// candidates and its consent, proto.CodeOK. With proto.CodeBusy the peer is
	// told that it may try again; every other code refuses. nil refuses all.
	Offer func(peer proto.ID) (candidates []proto.Candidate, consent proto.Code)
	// Candidates replaces, after the registration was lost, what a request that
	// was not answered yet has stated: the node may be somewhere else now. nil
	// leaves that as it was.
	Candidates func() []proto.Candidate
	// Refresh is called when the client has consented to an offer, and returns a
	// channel that is closed when Report is to be asked for the answer: what takes a
	// moment to measure can be measured meanwhile. The answer waits for a second at
	// most. nil, or a nil channel, is at once.
	Refresh func() <-chan struct{}
	// Introduced gets introductions that this client consented to and did not
	// ask for itself. If requests cross, one introduction may be handed to
	// Introduced and be returned by Introduce; it has the same
	// Transcript.Introduction then.
	Introduced func(Introduction)
	// Report is what peers are told of this node's NATs, asked anew for each request
	// and answer; nil is nothing. Unlike the others it may be called concurrently.
	Report func() *proto.NATReport
	// State is told of each change, until the context of Run ends.
	State func(State)
	// Logger gets what the client has to say; nil discards it.
	Logger *slog.Logger
}

// State is what became of a client's registration.
type State struct {
	// Registered says whether the client is registered now. If so, Observed is
	// its endpoint as the server sees it, Local its own end of the connection
	// (zero if that is not TCP), and Probing what the server offers for finding out
	// what NATs do.
	Registered bool
	Observed   netip.AddrPort
	Local      netip.AddrPort
	Probing    Probing
	// Suspended says that it is not registered because of Suspend. Otherwise Err
	// is why it is not registered. If Permanent, Run ends; otherwise the next
	// attempt is due after Retry.
	Suspended bool
	Err       error
	Retry     time.Duration
	Permanent bool
}

// Introduction is what two peers need to connect to each other.
type Introduction struct {
	Transcript *proto.Transcript
	Role       proto.Role // of this client
	Secret     proto.Secret
	// Received is when the introduction was read from the connection; the
	// plan's time 0 is half of this client's round trip before it.
	Received time.Time
}

// ErrNotRegistered is returned by Introduce when Run has ended.
var ErrNotRegistered = errors.New("not registered with the server")

// DeclinedError is the server's answer to a request for an introduction that
// will not happen.
type DeclinedError struct {
	Peer proto.ID
	Code proto.Code
}

func (e *DeclinedError) Error() string {
	return fmt.Sprintf("introduction to %s declined: %s", e.Peer.Short(), e.Code)
}

// FailureError is what the server said before it closed the connection.
type FailureError struct {
	Code proto.Code
	Text string // empty if it said no more
}

func (e *FailureError) Error() string {
	if e.Text == "" {
		return "server closed the connection: " + e.Code.String()
	}
	return fmt.Sprintf("server closed the connection: %s: %q", e.Code, e.Text)
}

// Client keeps a node registered with a server and gets introductions for it.
// Its methods are safe for concurrent use.
type Client struct {
	cfg   ClientConfig
	log   *slog.Logger
	ended chan struct{} // closed when Run has ended

	mu         sync.Mutex
	ran        bool
	answersFor []proto.ID
	link       *link // nil unless registered
	requests   map[uint32]*pending
	issued     uint32 // the latest request number
	// backs is the link on which dial-backs are asked for, from before State is told
	// of it, and issuedBacks the latest number of such a request.
	backs       *link
	issuedBacks uint32
	pause       pause
}

// pending is a call of Introduce that was not answered yet.
type pending struct {
	message *proto.Introduce
	result  chan result // capacity 1
}

type result struct {
	introduction Introduction
	err          error
}

// NewClient returns a client; Run makes it work. It panics if the
// configuration lacks what is required.
func NewClient(cfg ClientConfig) *Client {
	if cfg.Key == nil || cfg.Dial == nil || cfg.Instance.IsZero() || cfg.Server.Key.IsZero() {
		panic("rendezvous: ClientConfig without Server, Key, Instance or Dial")
	}
	c := &Client{
		cfg:      cfg,
		log:      cmp.Or(cfg.Logger, slog.New(slog.DiscardHandler)),
		ended:    make(chan struct{}),
		requests: make(map[uint32]*pending),
	}
	c.SetAnswersFor(cfg.AnswersFor)
	return c
}

// Run registers with the server and stays registered until ctx ends, whose
// error it returns, or until an attempt fails in a way that another attempt
// cannot help: the server proved another key than that of its URL
// (*identity.MismatchError) or speaks another version (proto.ErrVersion). All
// goroutines that it started have ended when it returns. It may be called once.
func (c *Client) Run(ctx context.Context) error {
	c.mu.Lock()
	again := c.ran
	c.ran = true
	c.mu.Unlock()
	if again {
		panic("rendezvous: Client.Run called twice")
	}
	defer close(c.ended)
	var b backoff
	for {
		lasted, err := c.attemptUnlessSuspended(ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		b.registered(lasted)
		if errors.Is(err, errSuspended) {
			c.tell(State{Suspended: true})
			continue
		}
		if permanent(err) {
			c.tell(State{Err: err, Permanent: true})
			return err
		}
		delay := b.next(rand.Float64())
		c.log.Debug("not registered", "server", c.cfg.Server.HostPort(), "error", err, "retry", delay)
		c.tell(State{Err: err, Retry: delay})
		if !sleep(ctx, delay) {
			return ctx.Err()
		}
	}
}

// permanent reports whether the next attempt would fail as well.
func permanent(err error) bool {
	var mismatch *identity.MismatchError
	return errors.As(err, &mismatch) || errors.Is(err, proto.ErrVersion)
}

// sleep reports whether ctx was still alive after d.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (c *Client) tell(s State) {
	if c.cfg.State != nil {
		c.cfg.State(s)
	}
}

// attempt registers once and returns when that has failed or the registration
// is lost: how long it lasted, and why.
func (c *Client) attempt(ctx context.Context) (lasted time.Duration, err error) {
	l, err := c.connect(ctx)
	if err != nil {
		return 0, fmt.Errorf("registering with %s: %w", c.cfg.Server.HostPort(), err)
	}
	since := time.Now()
	err = l.run(ctx)
	return time.Since(since), fmt.Errorf("registration with %s lost: %w", c.cfg.Server.HostPort(), err)
}

// publish makes a new link the one on which requests go out, those included
// that the one before did not see answered; they state what holds now, if that is
// not nil.
func (c *Client) publish(l *link, now []proto.Candidate) {
	report := c.report()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link = l
	if !slices.Equal(l.answersFor, c.answersFor) {
		l.out.send(c.registerLocked())
	}
	for _, n := range slices.Sorted(maps.Keys(c.requests)) {
		again := *c.requests[n].message
		if now != nil {
			again.Candidates = now
		}
		again.NAT = report
		l.out.send(&again)
	}
}

// candidatesNow returns what requests that wait are to state now; nil leaves them
// as they are.
func (c *Client) candidatesNow() []proto.Candidate {
	c.mu.Lock()
	waiting := len(c.requests) > 0
	c.mu.Unlock()
	if !waiting || c.cfg.Candidates == nil {
		return nil
	}
	return c.cfg.Candidates()
}

func (c *Client) withdrawLink() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link, c.backs = nil, nil
}

func (c *Client) register() *proto.Register {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.registerLocked()
}

func (c *Client) registerLocked() *proto.Register {
	return &proto.Register{
		Instance:    c.cfg.Instance,
		PlanVersion: proto.PlanVersion,
		Answers:     c.cfg.Answers,
		AnswersFor:  c.answersFor,
		Agent:       c.cfg.Agent,
		Away:        seconds(c.cfg.Away),
	}
}

// SetAnswersFor replaces ClientConfig.AnswersFor and tells the server. Zero IDs
// are left out, and those beyond the first proto.MaxAnswersFor, with a warning
// in the log.
func (c *Client) SetAnswersFor(ids []proto.ID) {
	ids = slices.DeleteFunc(slices.Clone(ids), proto.ID.IsZero)
	if len(ids) > proto.MaxAnswersFor {
		c.log.Warn("too many peers to answer by name", "peers", len(ids), "limit", proto.MaxAnswersFor)
		ids = ids[:proto.MaxAnswersFor]
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if slices.Equal(ids, c.answersFor) {
		return
	}
	c.answersFor = ids
	if c.link != nil {
		c.link.out.send(c.registerLocked())
	}
}

// Introduce asks the server for an introduction to a peer, stating this node's
// own candidates, of which the server keeps those of kind proto.Host. It waits
// for the registration if there is none, and asks again if the registration is
// lost before the answer; only ctx bounds that. The error is that of ctx, a
// *DeclinedError, ErrNotRegistered if Run has ended, or wraps
// proto.ErrMalformed or proto.ErrTooLarge if the candidates cannot be sent.
func (c *Client) Introduce(ctx context.Context, peer proto.ID, candidates []proto.Candidate) (Introduction, error) {
	return c.IntroduceWithin(ctx, 0, peer, candidates)
}

// IntroduceWithin is Introduce for a peer that may not be there yet: the server
// is asked to keep the request for that long, in whole seconds and at most
// proto.MaxWait, before it declines with proto.CodeOffline. The server counts
// from when it gets the request, so anew after the registration was lost; an
// older server does not wait at all.
func (c *Client) IntroduceWithin(ctx context.Context, wait time.Duration, peer proto.ID, candidates []proto.Candidate) (Introduction, error) {
	n, r, err := c.ask(wait, peer, candidates)
	if err != nil {
		return Introduction{}, err
	}
	defer c.forget(n)
	select {
	case res := <-r.result:
		return res.introduction, res.err
	case <-ctx.Done():
		c.withdraw(n)
		return Introduction{}, ctx.Err()
	case <-c.ended:
		return Introduction{}, ErrNotRegistered
	}
}

// report returns what is stated of this node's NATs.
func (c *Client) report() *proto.NATReport {
	if c.cfg.Report == nil {
		return nil
	}
	return c.cfg.Report()
}

// ask notes a request and sends it if there is a registration.
func (c *Client) ask(wait time.Duration, peer proto.ID, candidates []proto.Candidate) (uint32, *pending, error) {
	report := c.report()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.issued = max(c.issued+1, 1)
	r := &pending{
		message: &proto.Introduce{
			Request: c.issued, Peer: peer, Candidates: slices.Clone(candidates),
			Wait: seconds(wait), PortMode: c.cfg.PortMode, NAT: report, NoGuess: c.cfg.NoGuess,
		},
		result: make(chan result, 1),
	}
	if _, err := proto.Append(nil, r.message); err != nil {
		return 0, nil, err
	}
	c.requests[c.issued] = r
	if c.link != nil {
		c.link.out.send(r.message)
	}
	return c.issued, r, nil
}

// seconds returns a time as the wire has it.
func seconds(d time.Duration) uint16 { return uint16(max(0, min(d, proto.MaxWait)) / time.Second) }

// withdraw tells the server that nobody waits for the answer any more. Otherwise
// it might still introduce the peer, who would then look for us in vain.
func (c *Client) withdraw(n uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link != nil {
		c.link.out.send(&proto.Withdraw{Request: n})
	}
}

func (c *Client) forget(n uint32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.requests, n)
}

// pending returns an unanswered request, or nil. ok is false if the number was
// never used.
func (c *Client) pending(n uint32) (r *pending, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.requests[n], n <= c.issued
}

// resolve answers a request.
func (r *pending) resolve(res result) {
	select {
	case r.result <- res:
	default: // answered before; its caller is about to look
	}
}
