package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
)

// link is a connection to a peer that is made again when it is lost. Its methods
// are safe for concurrent use.
type link struct {
	node    *peer.Node
	peer    proto.ID
	patient time.Duration // how long who wants a stream waits for the peer
	log     *slog.Logger

	mu      sync.Mutex
	session *peer.Session // the newest; nil before the first
	renewed chan struct{} // closed when there is a newer one
}

func newLink(node *peer.Node, id proto.ID, patient time.Duration, log *slog.Logger) *link {
	return &link{node: node, peer: id, patient: patient, log: log, renewed: make(chan struct{})}
}

// connect makes a session, the first or another.
func (l *link) connect(ctx context.Context) (*peer.Session, error) {
	s, err := l.node.Await(ctx, l.peer)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.session = s
	close(l.renewed)
	l.renewed = make(chan struct{})
	return s, nil
}

// Pauses between attempts to connect again. Waiting for a peer that is offline
// is one attempt.
const (
	firstRetry = time.Second
	lastRetry  = 30 * time.Second
)

// reconnect makes another session when one is lost. It fails with what another
// attempt would not change, or when ctx has ended.
func (l *link) reconnect(ctx context.Context) (*peer.Session, error) {
	for pause := firstRetry; ; pause = min(2*pause, lastRetry) {
		s, err := l.connect(ctx)
		switch {
		case err == nil:
			return s, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case isFinal(err):
			return nil, err
		}
		l.log.Warn("not connected, trying again", "peer", l.peer, "err", err, "retry", pause)
		if err := sleep(ctx, pause); err != nil {
			return nil, err
		}
	}
}

// sleep waits, a little more or less so that not all come at once.
func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d*3/4 + rand.N(d/2)):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// isFinal reports whether connecting again would fail in the same way.
func isFinal(err error) bool {
	var mismatch *identity.MismatchError
	return errors.As(err, &mismatch) || errors.Is(err, peer.ErrNotAuthorised) || errors.Is(err, proto.ErrVersion) || errors.Is(err, peer.ErrClosed)
}

// current returns a session that is alive, for which it may have to wait.
func (l *link) current(ctx context.Context) (*peer.Session, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, l.patient, fmt.Errorf("no connection to the peer within %v", l.patient))
	defer cancel()
	for {
		l.mu.Lock()
		s, renewed := l.session, l.renewed
		l.mu.Unlock()
		if s != nil && s.Err() == nil {
			return s, nil
		}
		select {
		case <-renewed:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// open opens a stream to a target. It waits while there is no session, up to the
// link's patience, and as long as it takes while too many streams are open. That
// the peer refuses the target comes from the stream.
func (l *link) open(ctx context.Context, target string) (*peer.Stream, error) {
	for {
		s, err := l.current(ctx)
		if err != nil {
			return nil, err
		}
		stream, err := s.Open(ctx, target)
		switch {
		case err == nil:
			return stream, nil
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case s.Err() == nil:
			return nil, err
		}
	}
}

// dial is open, except that it returns when the target has answered.
func (l *link) dial(ctx context.Context, target string) (*peer.Stream, error) {
	s, err := l.open(ctx, target)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, s.Abort)
	defer stop()
	if err := s.Opened(); err != nil {
		s.Abort()
		return nil, interrupted(ctx, err)
	}
	return s, nil
}
