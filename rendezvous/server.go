package rendezvous

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/peerd/peerd/proto"
)

// ErrServerClosed is returned by Serve and ServeProbe after Shutdown or Close.
var ErrServerClosed = errors.New("rendezvous: server closed")

// Server registers peers, introduces them to each other and answers STUN. Its
// methods are safe for concurrent use.
type Server struct {
	cfg      ServerConfig
	log      *slog.Logger
	noise    *rate.Limiter // of what is logged about strangers
	tls      *tls.Config
	registry *registry
	sources  *buckets[netip.Prefix] // of connections
	pending  *gate
	stun     *gate
	backs    *dialBacks

	done chan struct{}  // closed when closing becomes true
	wg   sync.WaitGroup // everything that the server started, and Serve

	mu        sync.Mutex
	closing   bool
	expiring  bool // the registry's timers run
	listeners map[net.Listener]struct{}
	conns     map[net.Conn]bool // open connections; true: registered
}

// NewServer returns a server that serves nothing yet. It panics if the
// configuration has no key, or probe ports that proto.Registered cannot hold.
func NewServer(cfg ServerConfig) *Server {
	if cfg.Key == nil || len(cfg.ProbePorts) > proto.MaxProbePorts || slices.Contains(cfg.ProbePorts, 0) {
		panic("rendezvous: ServerConfig without Key, or with bad ProbePorts")
	}
	s := &Server{
		cfg:       cfg,
		log:       cfg.logger(),
		noise:     rate.NewLimiter(1, 10),
		tls:       cfg.Key.ServerConfig(proto.ALPNServer, nil),
		sources:   newBuckets[netip.Prefix](cfg.connectionRate(), cfg.connectionBurst()),
		pending:   newGate(cfg.maxPending()),
		stun:      newGate(cfg.maxSTUN()),
		done:      make(chan struct{}),
		listeners: make(map[net.Listener]struct{}),
		conns:     make(map[net.Conn]bool),
	}
	s.registry = newRegistry(&s.cfg)
	s.backs = newDialBacks(&s.cfg)
	return s
}

// Serve accepts registrations and STUN from l, told apart by the first byte,
// until l fails or the server is closed. It closes l. It returns
// ErrServerClosed after Shutdown or Close, and the error of l otherwise.
func (s *Server) Serve(l net.Listener) error {
	s.registry.start(time.Now())
	return s.serve(l, s.pending, s.identify)
}

// ServeProbe accepts STUN from l and nothing else. In all other ways it is like
// Serve.
func (s *Server) ServeProbe(l net.Listener) error {
	return s.serve(l, s.stun, s.probe)
}

func (s *Server) serve(l net.Listener, g *gate, handle func(*inbound) (kept bool)) error {
	defer l.Close()
	if !s.enter(l) {
		return ErrServerClosed
	}
	defer s.exit(l)
	var delay time.Duration
	for {
		raw, err := l.Accept()
		switch {
		case err == nil:
			delay = 0
			s.accept(raw, g, handle)
		case s.isClosing():
			return ErrServerClosed
		case !passing(err):
			return err
		default:
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			s.log.Warn("accepting failed", "error", err, "retry", delay)
			if !s.pause(delay) {
				return ErrServerClosed
			}
		}
	}
}

// passing reports whether Accept may work again by itself, as it does after
// running out of file descriptors.
func passing(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// pause waits, and reports whether the server is still open then.
func (s *Server) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.done:
		return false
	}
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// enter counts a call of Serve, unless the server is closed.
func (s *Server) enter(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.listeners[l] = struct{}{}
	s.wg.Add(1)
	if !s.expiring {
		s.expiring = true
		s.wg.Go(func() { s.registry.expire(s.done) })
	}
	return true
}

func (s *Server) exit(l net.Listener) {
	s.mu.Lock()
	delete(s.listeners, l)
	s.mu.Unlock()
	s.wg.Done()
}

// spawn runs f in a goroutine of its own with a new connection, which f then
// owns, unless the server is closed.
func (s *Server) spawn(raw net.Conn, f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.conns[raw] = false
	s.wg.Go(f)
	return true
}

// settle marks a connection as one whose client Shutdown talks to.
func (s *Server) settle(raw net.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conns[raw] = true
}

// drop closes a connection that spawn was given.
func (s *Server) drop(raw net.Conn) {
	s.mu.Lock()
	delete(s.conns, raw)
	s.mu.Unlock()
	raw.Close()
}

// Shutdown tells all clients that the server goes down, closes everything and
// waits for all goroutines to end, those in Serve included. When ctx ends it
// stops being polite, and returns the error of ctx after that.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop(func(registered bool) bool { return !registered })
	s.registry.farewell(time.Now())
	forced := context.AfterFunc(ctx, func() { s.stop(func(bool) bool { return true }) })
	s.wg.Wait()
	if !forced() {
		return ctx.Err()
	}
	return nil
}

// Close closes everything at once and waits for all goroutines to end, those
// in Serve included. Its error is always nil.
func (s *Server) Close() error {
	s.stop(func(bool) bool { return true })
	s.wg.Wait()
	return nil
}

// stop closes the listeners and the connections that it is told to.
func (s *Server) stop(which func(registered bool) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closing {
		s.closing = true
		close(s.done)
	}
	for l := range s.listeners {
		l.Close()
	}
	for raw, registered := range s.conns {
		if which(registered) {
			raw.Close()
		}
	}
}
