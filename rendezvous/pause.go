package rendezvous

import (
	"context"
	"errors"
	"time"
)

// pause is what Suspend and Resume have asked for, guarded by Client.mu. The zero
// value is that of a client that is not suspended.
type pause struct {
	resumed chan struct{}      // closed by Resume; nil if not suspended
	cancel  context.CancelFunc // ends the attempt under way; nil if there is none
	ended   chan struct{}      // closed when it has ended
}

var errSuspended = errors.New("suspended")

// Suspend closes the connection to the server and keeps the client from making
// another one until Resume. The connection is closed, and its local port free,
// when it returns. What was asked for stays so: Introduce waits, and asks again
// after Resume. It must not be called by the functions of ClientConfig.
func (c *Client) Suspend() {
	c.mu.Lock()
	if c.pause.resumed == nil {
		c.pause.resumed = make(chan struct{})
	}
	cancel, ended := c.pause.cancel, c.pause.ended
	c.mu.Unlock()
	if cancel != nil {
		cancel()
		<-ended
	}
}

// Resume lets the client register again, at once if it was registered before.
func (c *Client) Resume() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pause.resumed != nil {
		close(c.pause.resumed)
		c.pause.resumed = nil
	}
}

// attemptUnlessSuspended waits while the client is suspended, and then registers
// once. The error is errSuspended if Suspend has ended that.
func (c *Client) attemptUnlessSuspended(ctx context.Context) (lasted time.Duration, err error) {
	attempt, cancel := context.WithCancel(ctx)
	defer cancel()
	if !c.beginAttempt(ctx, cancel) {
		return 0, ctx.Err()
	}
	lasted, err = c.attempt(attempt)
	if c.endAttempt() {
		return lasted, errSuspended
	}
	return lasted, err
}

// beginAttempt waits until the client is not suspended, and reports whether ctx
// is still alive.
func (c *Client) beginAttempt(ctx context.Context, cancel context.CancelFunc) bool {
	for {
		c.mu.Lock()
		resumed := c.pause.resumed
		if resumed == nil {
			c.pause.cancel, c.pause.ended = cancel, make(chan struct{})
		}
		c.mu.Unlock()
		if resumed == nil {
			return true
		}
		select {
		case <-resumed:
		case <-ctx.Done():
			return false
		}
	}
}

// endAttempt reports whether the client has been suspended meanwhile.
func (c *Client) endAttempt() (suspended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	close(c.pause.ended)
	c.pause.cancel, c.pause.ended = nil, nil
	return c.pause.resumed != nil
}
