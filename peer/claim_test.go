package peer

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/peerd/peerd/proto/identity"
	"github.com/peerd/peerd/punch/reuse"
)

// examined returns a node that finds out by itself what a test says.
func examined(t *testing.T, cfg Config, probe func(context.Context) (reuse.Capabilities, error)) *Node {
	t.Helper()
	cfg.Server, cfg.Key = startServer(t), identity.Generate()
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Close() })
	n.probe = probe
	return n
}

// Where nothing can be found out a mode that is named is used, and otherwise the
// error says what to do.
func TestStartWithoutFindings(t *testing.T) {
	unreachable := errors.New("network is unreachable")
	probe := func(context.Context) (reuse.Capabilities, error) { return reuse.Capabilities{}, unreachable }
	for _, mode := range []reuse.Mode{reuse.Shared, reuse.DialOnly, reuse.Sequential} {
		n := examined(t, Config{PortMode: mode}, probe)
		if err := n.Start(t.Context()); err != nil || n.Status().PortMode != mode.String() {
			t.Errorf("mode %v: %v, status %+v", mode, err, n.Status())
		}
	}
	err := examined(t, Config{}, probe).Start(t.Context())
	if !errors.Is(err, unreachable) || !strings.Contains(err.Error(), "loopback") || !strings.Contains(err.Error(), "port-mode") {
		t.Errorf("no mode: %v, want the reason and what to do", err)
	}
}

// While a node finds out what the system can do, it can be asked for its state and
// closed, and Start ends with its context.
func TestExaminingEnds(t *testing.T) {
	for name, end := range map[string]struct {
		by   func(n *Node, cancel func())
		want error
	}{
		"by its context": {func(_ *Node, cancel func()) { cancel() }, context.Canceled},
		"by Close":       {func(n *Node, _ func()) { n.Close() }, ErrClosed},
	} {
		for _, mode := range []reuse.Mode{0, reuse.Shared} {
			t.Run(name+" in mode "+mode.String(), func(t *testing.T) {
				examining := make(chan struct{})
				n := examined(t, Config{PortMode: mode}, func(ctx context.Context) (reuse.Capabilities, error) {
					close(examining)
					<-ctx.Done()
					return reuse.Capabilities{}, ctx.Err()
				})
				ctx, cancel := context.WithCancel(t.Context())
				started := make(chan error, 1)
				go func() { started <- n.Start(ctx) }()
				<-examining
				if n.Port() != 0 {
					t.Error("there is a port already")
				}
				end.by(n, cancel)
				defer cancel()
				select {
				case err := <-started:
					if !errors.Is(err, end.want) {
						t.Errorf("Start returned %v, want %v", err, end.want)
					}
				case <-time.After(5 * time.Second):
					t.Error("Start goes on")
				}
			})
		}
	}
}

// What is claimed while the node is closed is not claimed.
func TestClosedWhileExamining(t *testing.T) {
	var n *Node
	n = examined(t, Config{}, func(context.Context) (reuse.Capabilities, error) {
		n.Close()
		return reuse.Capabilities{Mode: reuse.Shared}, nil
	})
	if err := n.Start(t.Context()); !errors.Is(err, ErrClosed) || n.Port() != 0 {
		t.Errorf("Start returned %v, port %d", err, n.Port())
	}
}
