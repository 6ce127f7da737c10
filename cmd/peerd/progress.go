package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch"
	"github.com/peerd/peerd/punch/reuse"
)

// progress shows how far the connection to a peer has come: on a terminal as
// one line in place, otherwise as one log line a phase. It is safe for
// concurrent use.
type progress struct {
	server string
	peer   proto.ID
	log    *slog.Logger
	screen *screen // nil where phases are logged
	// announced means that the command itself tells when it is connected.
	announced bool

	mu       sync.Mutex
	phase    peer.Phase
	attempts int // dials
}

// progressTo returns the progress of a command that is about to connect.
func (p *program) progressTo(id proto.ID, log *slog.Logger, inPlace bool) *progress {
	g := &progress{server: p.names.server, peer: id, log: log}
	if inPlace && p.screen.isTerminal() && !p.logAsked() {
		g.screen = p.screen
	}
	return g
}

// event follows the node's events.
func (g *progress) event(e peer.Event) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch e.Kind {
	case peer.Claimed:
		logPort(g.log, e)
	case peer.Registered:
		g.enterLocked(peer.PhaseIntroduce)
	case peer.Introduced:
		g.enterLocked(peer.PhasePunch)
	case peer.Punch:
		g.punchLocked(e.Punch)
	case peer.Secured:
		g.enterLocked(peer.PhaseAttach)
	case peer.Connected:
		g.connectedLocked(e.Path)
	case peer.Unregistered:
		g.log.Debug("not registered", "err", e.Err)
	case peer.Suspended, peer.Moved:
		g.log.Debug(string(e.Kind))
	case peer.Disconnected:
		g.log.Debug("disconnected", "reason", e.Err)
	}
}

func (g *progress) punchLocked(e punch.Event) {
	g.explain(e)
	switch e.Kind {
	case punch.Dialled:
		g.attempts++
		g.showLocked()
	case punch.Proven, punch.Accepted:
		g.enterLocked(peer.PhaseSecure)
	}
}

// explain logs an event of punching: when, what happened, the kind of address and
// the address, and the system's error by its name if that is why.
func (g *progress) explain(e punch.Event) {
	if errno := reuse.ErrnoName(e.Err); errno != "" {
		g.log.Debug("punch", "event", e.String(), "errno", errno)
		return
	}
	g.log.Debug("punch", "event", e.String())
}

// order ranks the phases: several connections may be on their way at once, and
// what counts is the one that has come farthest.
var order = map[peer.Phase]int{
	peer.PhaseRegister: 1, peer.PhaseIntroduce: 2, peer.PhasePunch: 3,
	peer.PhaseSecure: 4, peer.PhaseAttach: 5, peer.PhaseConnected: 6,
}

// begin shows the first phase.
func (g *progress) begin() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.enterLocked(peer.PhaseRegister)
}

func (g *progress) enterLocked(phase peer.Phase) {
	if order[phase] <= order[g.phase] {
		return
	}
	g.phase = phase
	if g.screen == nil {
		g.log.Info(g.doingLocked())
	}
	g.showLocked()
}

func (g *progress) connectedLocked(path peer.Path) {
	g.phase = peer.PhaseConnected
	if g.screen != nil {
		g.screen.status("")
		return
	}
	level := slog.LevelInfo
	if g.announced {
		level = slog.LevelDebug
	}
	g.log.Log(context.Background(), level, "connected", "path", path.Kind, "remote", path.Remote, "rtt", path.RTT)
}

func (g *progress) showLocked() {
	if g.screen == nil {
		return
	}
	text := g.doingLocked()
	if g.phase == peer.PhasePunch && g.attempts > 0 {
		text += fmt.Sprintf(" (attempt %d)", g.attempts)
	}
	g.screen.status(text)
}

// doing says what is under way.
func (g *progress) doing() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.doingLocked()
}

func (g *progress) doingLocked() string {
	id := g.peer.Short()
	switch g.phase {
	case peer.PhaseRegister:
		return "registering with " + g.server
	case peer.PhaseIntroduce:
		return "asking " + g.server + " for peer " + id
	case peer.PhasePunch:
		return "punching through to peer " + id
	case peer.PhaseSecure:
		return "securing the connection to peer " + id
	}
	return "waiting for peer " + id
}

// limit bounds the connection phase. The context's cause then is a
// *timeoutError.
func (g *progress) limit(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(d, func() { cancel(&timeoutError{d, g.doing()}) })
	return ctx, func() { timer.Stop(); cancel(nil) }
}
