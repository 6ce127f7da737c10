package peer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch"
	"github.com/peerd/peerd/punch/reuse"
	"github.com/peerd/peerd/rendezvous"
)

// Node is one peer. Its methods are safe for concurrent use.
type Node struct {
	cfg      Config
	instance proto.Token
	began    time.Time
	budget   *punch.Budget
	probe    func(context.Context) (reuse.Capabilities, error) // reuse.Probe

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	active context.Context // ends with Shutdown already
	retire context.CancelFunc
	tasks  sync.WaitGroup
	first  chan error // outcome of the first registration, for Start

	events  sync.Mutex // one event at a time
	crowded sync.Once  // warns of too many peers to answer by name

	// Set once by Start, under mu, before anything else needs them; nil until
	// then.
	sharing   reuse.Capabilities
	mode      reuse.Mode // of the port
	notShared error      // why that is not Shared
	port      *reuse.Port
	gate      *punch.Gate
	client    *rendezvous.Client

	sequence sequence
	study    study
	guesses  guesses

	mu         sync.Mutex
	server     netip.Addr // of the server, as dialled last
	registered bool
	suspended  bool                     // the registration, for a meeting
	observed   netip.AddrPort           // of this node
	calls      map[wish]*call           // connections that this node is making
	meetings   map[proto.Token]*meeting // by introduction
	met        []proto.Token            // the latest introductions
	sessions   map[proto.ID][]*Session  // newest last
	services   map[string]*listener     // of Listen
	remotes    map[proto.ID]int         // listeners for peers
	instances  map[proto.ID]proto.Token // of peers, that there was a session with last
	closing    bool                     // Shutdown or Close has begun: nothing new does
	closed     bool                     // Close has come as far as the port
}

// New returns a node that has not started yet.
func New(cfg Config) (*Node, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	n := &Node{
		cfg:      cfg.withDefaults(),
		instance: proto.NewToken(),
		began:    time.Now(),
		budget:   punch.NewBudget(time.Now()),
		probe:    reuse.Probe,
		first:    make(chan error, 1),
		calls:    make(map[wish]*call),
		meetings: make(map[proto.Token]*meeting),
		guesses:  guesses{keep: cfg.KeepGuesses},
		sessions: make(map[proto.ID][]*Session),
		services: make(map[string]*listener),
		remotes:  make(map[proto.ID]int),

		instances: make(map[proto.ID]proto.Token),
	}
	n.sequence.socket = make(chan struct{}, 1)
	n.study.init()
	n.ctx, n.cancel = context.WithCancel(context.Background())
	n.active, n.retire = context.WithCancel(n.ctx)
	return n, nil
}

// ID returns the node's peer ID.
func (n *Node) ID() proto.ID { return n.cfg.Key.ID() }

// Start claims the local port and registers with the server. When it returns
// nil the node is registered and stays so until Close, whatever happens to the
// server. It fails with a *reuse.ClashError, an *identity.MismatchError, an
// error that wraps ErrServer, or ErrClosed. It is to be called once; Close must
// be called even if it fails.
func (n *Node) Start(ctx context.Context) error {
	if err := n.claim(ctx); err != nil {
		return err
	}
	n.emit(Event{Kind: Claimed, Port: n.port.Number(), Mode: n.mode, Err: n.notShared})
	if err := n.launch(); err != nil {
		return err
	}
	select {
	case err := <-n.first:
		return err
	case <-n.active.Done():
		return ErrClosed
	case <-ctx.Done():
		return fmt.Errorf("%w: %s: %w", ErrServer, n.cfg.Server.HostPort(), ctx.Err())
	}
}

// launch starts what runs until Close.
func (n *Node) launch() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closing {
		return ErrClosed
	}
	for _, l := range n.port.Listeners() {
		n.tasks.Go(func() { n.gate.Serve(l) })
	}
	n.client = rendezvous.NewClient(rendezvous.ClientConfig{
		Server: n.cfg.Server, Key: n.cfg.Key, Instance: n.instance,
		Dial: n.dialServer, Answers: n.cfg.Answer, AnswersFor: n.cfg.AnswerFor, Agent: n.cfg.Agent,
		PortMode: wireMode(n.mode), NoGuess: n.cfg.NoGuess, Away: n.away(),
		Offer: n.consent, Refresh: n.refreshing, Candidates: n.candidates, Report: n.natReport, Introduced: n.introduced, State: n.registration,
		Logger: n.cfg.Logger,
	})
	n.tasks.Go(func() { n.client.Run(n.active) })
	if n.isSequential() {
		n.tasks.Go(n.stayHome)
	}
	n.tasks.Go(n.keepStudied)
	return nil
}

// Port returns the node's one local TCP port; 0 before Start.
func (n *Node) Port() uint16 {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.port == nil {
		return 0
	}
	return n.port.Number()
}

// Observed returns this node's endpoint as the server saw it last.
func (n *Node) Observed() netip.AddrPort {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.observed
}

// registration follows what becomes of the registration.
func (n *Node) registration(s rendezvous.State) {
	n.mu.Lock()
	n.suspended = s.Suspended
	if n.registered = s.Registered && !n.closing; s.Registered {
		n.observed = s.Observed
		n.study.registeredLocked(s)
	} else {
		n.study.epoch++
	}
	n.mu.Unlock()
	if s.Registered {
		n.emit(Event{Kind: Registered, Observed: s.Observed})
		n.settle(nil)
		return
	}
	if s.Suspended {
		n.emit(Event{Kind: Suspended})
		return
	}
	err := fmt.Errorf("%w: %s: %w", ErrServer, n.cfg.Server.HostPort(), s.Err)
	n.emit(Event{Kind: Unregistered, Err: err, Retry: s.Retry, Permanent: s.Permanent})
	if s.Permanent || !n.cfg.Persist {
		n.settle(err)
	}
}

// settle gives Start its result; later ones are dropped.
func (n *Node) settle(err error) {
	select {
	case n.first <- err:
	default:
	}
}

// serverDialTimeout bounds one attempt to reach the server at one address.
const serverDialTimeout = 10 * time.Second

// dialServer connects to the server from the local port, trying its addresses
// in the resolver's order.
func (n *Node) dialServer(ctx context.Context) (net.Conn, error) {
	addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", n.cfg.Server.Host)
	if err != nil {
		return nil, err
	}
	var errs []error
	for _, addr := range addrs {
		conn, err := n.dialServerAt(ctx, netip.AddrPortFrom(addr.Unmap(), n.cfg.Server.Port))
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

func (n *Node) dialServerAt(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, serverDialTimeout)
	defer cancel()
	dial := n.dialFreed
	if n.isSequential() {
		dial = n.dialInTurn
	}
	conn, err := dial(ctx, to)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	n.server = to.Addr()
	n.mu.Unlock()
	// An orphan would occupy the 4-tuple on which the next registration is to be
	// made, also that of the process which comes after this one is killed.
	if err := conn.(*net.TCPConn).SetLinger(0); err != nil { // it may be over already
		conn.Close()
		return nil, err
	}
	return conn, nil
}

// dialFreed dials again and again while the system still has a connection from
// the port to the address: that of a process which was killed, perhaps, and will
// be gone in a round trip.
func (n *Node) dialFreed(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	late := time.After(freedSoon)
	for {
		conn, err := n.port.Dial(ctx, to)
		if err == nil || !reuse.IsTupleInUse(err) {
			return conn, err
		}
		select {
		case <-late:
			n.cfg.Logger.Warn("the server cannot be dialled yet", "err", cause(err))
		case <-time.After(freedPause):
		case <-ctx.Done():
			return nil, err
		}
	}
}

const (
	// freedPause is between two dials of dialFreed, which send nothing.
	freedPause = 20 * time.Millisecond
	// freedSoon is when waiting calls for an explanation.
	freedSoon = time.Second
)

// dialsFrom makes the dials of a punching executor: from the port or, where they
// have slots or spare ports, from other ones. Whatever is left of earlier connections with the peer
// is passed over; what the executor gave up is not, but by quiet dials: a RST tells
// the peer.
func dialsFrom(p *reuse.Port) func(to netip.AddrPort, o punch.DialOptions) punch.Dialling {
	var slots reuse.Slots
	began := time.Now()
	return func(to netip.AddrPort, o punch.DialOptions) punch.Dialling {
		opts := reuse.DialOptions{TTL: o.TTL, Brief: o.Brief, From: o.From, Since: passedOver(began, time.Now())}
		if o.Slot > 0 {
			var err error
			if opts.From, err = slots.Number(o.Slot); err != nil {
				return noDial{err}
			}
		}
		return dialling{p.BeginWith(to, opts)}
	}
}

// leftOver is for how long something that was sent before an introduction may be on
// the way. What comes later is sent by a peer that still has the earlier connection,
// because this node's end of it was lost without a word: it answers each SYN from
// there, and takes none before a RST has told it (RFC 9293, 3.5.1, figure 9).
const leftOver = time.Second

// passedOver is from before when a dial passes over what is left of connections.
func passedOver(began, now time.Time) time.Time {
	if now.Sub(began) > leftOver {
		return time.Time{}
	}
	return began
}

// noDial is a dial that could not even begin.
type noDial struct{ err error }

// Wait implements punch.Dialling.
func (d noDial) Wait(context.Context) (net.Conn, error) { return nil, d.err }

// Answered implements punch.Dialling.
func (noDial) Answered() bool { return false }

// Acknowledged implements punch.Dialling.
func (noDial) Acknowledged() bool { return true }

// dialling says in punch's words how a dial ended.
type dialling struct{ *reuse.Dial }

// Wait implements punch.Dialling.
func (d dialling) Wait(ctx context.Context) (net.Conn, error) {
	conn, err := d.Dial.Wait(ctx)
	switch {
	case err == nil:
		return conn, nil
	case reuse.IsRefused(err) && reuse.IsRepeated(err):
		return nil, fmt.Errorf("%w (%w, %w)", punch.ErrRefused, cause(err), punch.ErrRepeated)
	case reuse.IsRefused(err):
		return nil, fmt.Errorf("%w (%w)", punch.ErrRefused, cause(err))
	case reuse.IsTupleInUse(err):
		return nil, fmt.Errorf("%w (%w)", punch.ErrTupleInUse, cause(err))
	case reuse.IsMuted(err):
		return nil, fmt.Errorf("%w (%w)", punch.ErrHungUp, cause(err))
	case reuse.IsNoAnswer(err):
		return nil, fmt.Errorf("%w (%w)", punch.ErrNoAnswer, cause(err))
	}
	return nil, cause(err)
}

// cause strips the addresses, which the caller names, and the resolver's.
func cause(err error) error {
	var lookup *net.DNSError
	if errors.As(err, &lookup) {
		return errors.New(lookup.Err)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// candidates are this node's host candidates, read anew for each introduction.
func (n *Node) candidates() []proto.Candidate {
	host, err := punch.ReadHostNetwork()
	if err != nil {
		n.cfg.Logger.Warn("going on without host candidates", "err", err)
	}
	return host.Candidates(n.source().Number())
}

// consent decides on an offer.
func (n *Node) consent(id proto.ID) ([]proto.Candidate, proto.Code) {
	switch {
	case !n.mayConnect(id):
		n.emit(Event{Kind: Refused, Peer: id})
		return nil, proto.CodeRefused
	case !n.expect(id):
		n.cfg.Logger.Debug("busy: the local port takes one socket at a time, and another peer has been introduced", "peer", id)
		return nil, proto.CodeBusy
	}
	return n.candidates(), proto.CodeOK
}

func (n *Node) emit(e Event) {
	if n.cfg.Events == nil {
		return
	}
	n.events.Lock()
	defer n.events.Unlock()
	e.Time = time.Now()
	n.cfg.Events(e)
}
