package punch

import (
	"context"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/peerd/peerd/proto"
)

// RunConfig is what Start needs.
type RunConfig struct {
	Transcript *proto.Transcript
	Role       proto.Role
	Secret     proto.Secret
	Received   time.Time // when the transcript was read from the server's connection
	// Dial starts to connect to an address.
	Dial func(to netip.AddrPort, o DialOptions) Dialling
	// Gate hands over the accepted sockets of this introduction.
	Gate *Gate
	// Admit returns why an address must not be dialled from here, or nil.
	Admit func(Step) error
	// Deaf says that nothing serves the Gate, Sequential that there is one socket
	// at a time.
	Deaf, Sequential bool
	// Quiet says that Dial can dial with a TTL above 0, quietly, and OtherPorts that
	// it knows slots; see DialOptions.
	Quiet, OtherPorts bool
	// AllowGuess returns why ports must not be guessed now, or nil; see Config.
	AllowGuess func() error

	First  First       // how the first dials are made
	Budget *Budget     // the node's; nil is without bounds
	Trace  func(Event) // called one at a time; nil ignores the events
}

// Dialling is a dial under way.
type Dialling interface {
	// Wait returns the connection. If ctx ends first, the socket is closed with
	// SO_LINGER 0. Errors are, or wrap, ErrRefused, ErrTupleInUse and ErrNoAnswer
	// where they apply. It is called once.
	Wait(ctx context.Context) (net.Conn, error)
	// Answered is that of Socket. It may be called at any time.
	Answered() bool
	// Acknowledged is that of Socket, once Wait has returned a connection.
	Acknowledged() bool
}

// Run is one side of an introduction being punched in real time. Its methods
// are safe for concurrent use.
type Run struct {
	cfg    RunConfig
	loop   *loop
	exec   *Executor // owned by the loop
	conns  chan *Conn
	err    error         // why it expired; set before expired is closed
	ended  chan struct{} // closed when it expired
	forget func()        // withdraws from the gate
}

// Start derives the plan and begins to carry it out. It fails only if there is
// no plan; everything else comes as events, connections, or Err. Stop must be
// called in the end.
func Start(cfg RunConfig) (*Run, error) {
	plan, err := MakePlan(cfg.Transcript)
	if err != nil {
		return nil, err
	}
	r := &Run{cfg: cfg, loop: newLoop(), ended: make(chan struct{})}
	// Room for every connection that can be alive at a time.
	r.conns = make(chan *Conn, 4*proto.MaxCandidates)
	own := cfg.Transcript.Party(cfg.Role)
	r.exec = NewExecutor(Config{
		Plan: plan, Role: cfg.Role,
		Introduction: cfg.Transcript.Introduction, Secret: cfg.Secret,
		Zero:  cfg.Received.Add(-micros(own.RTT) / 2),
		Clock: r.loop, Sockets: netSockets{r},
		Rand:  rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64())),
		Admit: cfg.Admit, Quiet: cfg.Quiet, First: cfg.First, Budget: cfg.Budget,
		Deaf: cfg.Deaf, Sequential: cfg.Sequential,
		OtherPorts: cfg.OtherPorts, AllowGuess: cfg.AllowGuess,
		Connected: r.connected, Proven: r.proven, Expired: r.expired,
		Trace: cfg.Trace,
	})
	r.forget = cfg.Gate.expect(cfg.Transcript.Introduction, r.accepted)
	r.loop.post(r.exec.Begin)
	return r, nil
}

// Conns delivers every connection as soon as it is established at this end;
// its Read waits for the proof. Hundreds that something on the way completes by itself
// (Volley.Completed) are left out until they are proven. Whoever receives a Conn owns it: it is either
// used, or closed and, if it had been proven, reported to GiveUp.
func (r *Run) Conns() <-chan *Conn { return r.conns }

// Expired is closed when the plan's limit has passed without a proven
// connection; Err then says why.
func (r *Run) Expired() <-chan struct{} { return r.ended }

// Err returns why the run expired, or nil if it has not.
func (r *Run) Err() error {
	select {
	case <-r.ended:
		return r.err
	default:
		return nil
	}
}

// GiveUp says that a proven connection was of no use; dialling goes on if it
// was the last.
func (r *Run) GiveUp() { r.loop.post(func() { r.exec.GiveUp() }) }

// SYNs returns how many SYNs were sent, or 0 after Stop.
func (r *Run) SYNs() (n int) {
	done := make(chan struct{})
	if r.loop.post(func() { n = r.exec.SYNs(); close(done) }) {
		<-done
	}
	return n
}

// Stop gives up every dial that is not proven, closes connections that nobody
// has received, and returns when all goroutines have ended.
func (r *Run) Stop() {
	r.forget()
	r.loop.post(func() {
		r.exec.Stop()
		r.loop.end()
	})
	r.loop.end() // where it had ended before
	r.loop.tasks.Wait()
	for {
		select {
		case c := <-r.conns:
			c.Close()
		default:
			return
		}
	}
}

func (r *Run) connected(s Socket, attempt int) { r.deliver(s, attempt) }

// deliver hands a connection over. If nobody receives, it is closed: the
// executor must not wait.
func (r *Run) deliver(s Socket, attempt int) bool {
	conn := s.(*netSocket).conn
	conn.Attempt = attempt
	select {
	case r.conns <- conn:
		return true
	default:
		conn.Close()
		return false
	}
}

func (r *Run) proven(s Socket) {
	if !s.(*netSocket).conn.settle(nil) {
		r.exec.GiveUp() // whoever had the connection has closed it meanwhile
	}
}

func (r *Run) expired(err error) {
	r.err = err
	close(r.ended)
}

// accepted takes over a socket from the gate and reports whether it was proven.
func (r *Run) accepted(raw net.Conn, preamble []byte) (err error) {
	done := make(chan struct{})
	ended := make(chan struct{})
	close(ended)
	s := &netSocket{loop: r.loop, cancel: func() {}, ended: ended, conn: &Conn{Conn: raw, run: r, judge: make(chan struct{})}}
	posted := r.loop.post(func() {
		defer close(done)
		if err = r.exec.Accept(s, remoteCandidate(raw), preamble); err == nil && !r.deliver(s, r.exec.attempts) {
			r.exec.GiveUp()
		}
	})
	if !posted {
		return errStopped
	}
	<-done
	return err
}

// remoteCandidate names the far end of an accepted socket in events; where it
// was learned nobody has said, so its kind is Observed: by us.
func remoteCandidate(c net.Conn) proto.Candidate {
	addr, _ := netip.ParseAddrPort(c.RemoteAddr().String())
	return proto.NewCandidate(addr, proto.Observed, 0)
}
