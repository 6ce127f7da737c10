package main

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/peerd/peerd/punch/natlab"
)

// connect is a running peerd connect.
type connect struct {
	cmd  *natlab.Cmd
	said *sayings
}

// startConnect starts peerd connect on a host and returns once the forwards are
// there.
func (w *world) startConnect(ctx context.Context, h *natlab.Host, state, peer string, forwards ...string) (*connect, error) {
	c := &connect{cmd: w.command(ctx, h, state, append([]string{"connect", peer}, forwards...)...), said: newSayings()}
	c.cmd.Stderr = c.said
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	go func() { // until the process ends
		c.cmd.Wait()
		c.said.end()
	}()
	n := len(forwards) / 2
	err := c.said.await(ctx, func(text string) bool { return strings.Count("\n"+text, "\nforward ") == n })
	if err != nil {
		return c, fmt.Errorf("peerd connect on %s: %w", h.Name(), err)
	}
	return c, nil
}

// sayings is what a program has said so far.
type sayings struct {
	mu    sync.Mutex
	text  strings.Builder
	more  chan struct{} // closed and replaced when there is more
	ended bool
}

func newSayings() *sayings { return &sayings{more: make(chan struct{})} }

// Write implements io.Writer.
func (s *sayings) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.more)
	s.more = make(chan struct{})
	return s.text.Write(b)
}

// end says that there will be no more.
func (s *sayings) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	close(s.more)
	s.more = make(chan struct{})
}

// await waits until what was said is enough.
func (s *sayings) await(ctx context.Context, enough func(text string) bool) error {
	for {
		s.mu.Lock()
		text, more, ended := s.text.String(), s.more, s.ended
		s.mu.Unlock()
		switch {
		case enough(text):
			return nil
		case ended:
			return fmt.Errorf("it has ended: %s", strings.TrimSpace(text))
		}
		select {
		case <-more:
		case <-ctx.Done():
			return fmt.Errorf("%w: it has said no more than %q", ctx.Err(), text)
		}
	}
}

// String is all that was said.
func (s *sayings) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}
