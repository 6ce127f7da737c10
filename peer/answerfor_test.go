package peer

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
)

// A peer that a node answers by name reaches that node, and not another one of
// the same key that answers everybody; strangers reach that one.
func TestAnswerFor(t *testing.T) {
	url := startServer(t)
	key, guest, friend := identity.Generate(), identity.Generate(), identity.Generate()
	daemon := startNode(t, Config{Server: url, Key: key, Answer: true, Allow: []proto.ID{guest.ID(), friend.ID()}})
	for _, start := range []string{"first", "again"} {
		by := startNode(t, Config{Server: url, Key: key, AnswerFor: []proto.ID{guest.ID()}, Allow: []proto.ID{guest.ID()}})
		echoOn(t, listen(t, by, start))
		if got := outcome(t, startNode(t, Config{Server: url, Key: guest}), key.ID(), start); got != proto.CodeOK {
			t.Errorf("the guest's service: %v", got)
		}
		if got := outcome(t, startNode(t, Config{Server: url, Key: friend}), key.ID(), start); got != proto.CodeNotExposed {
			t.Errorf("the friend is answered by the wrong node: %v", got)
		}
		by.Close()
	}
	// With it gone, the daemon answers.
	a := startNode(t, Config{Server: url, Key: guest})
	if _, err := a.Connect(within(t, 10*time.Second), daemon.ID()); err != nil {
		t.Error(err)
	}
}

// A node that calls more peers than the server can be told of says so, once.
func TestTooManyCalledPeersAreToldOf(t *testing.T) {
	lines, w := io.Pipe()
	var log strings.Builder
	var logging sync.WaitGroup
	logging.Go(func() { io.Copy(&log, lines) })
	n := startNode(t, Config{Server: startServer(t), Logger: slog.New(slog.NewTextHandler(w, nil))})
	ctx, cancel := context.WithCancel(t.Context())
	var calls sync.WaitGroup
	for called := range proto.MaxAnswersFor + 3 {
		calls.Go(func() { n.Await(ctx, identity.Generate().ID()) })
		eventually(t, "the call has begun", func() bool {
			n.mu.Lock()
			defer n.mu.Unlock()
			return len(n.calls) == called+1
		})
	}
	cancel()
	calls.Wait()
	n.Close() // ends what logs
	w.Close()
	logging.Wait()
	if got := strings.Count(log.String(), "more peers than the server can be told of"); got != 1 {
		t.Errorf("told of %d times:\n%s", got, &log)
	}
}
