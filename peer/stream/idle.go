package stream

import "context"

// Streams returns how many streams there are, those included that one end has
// not closed yet.
func (m *Mux) Streams() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.streams)
}

// AwaitIdle waits until there are no streams, or the session has ended. The
// error is that of ctx.
func (m *Mux) AwaitIdle(ctx context.Context) error {
	m.mu.Lock()
	idle := make(chan struct{})
	m.idle = append(m.idle, idle)
	m.announceIdleLocked()
	m.mu.Unlock()
	select {
	case <-idle:
	case <-m.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// announceIdleLocked wakes those up who wait for the last stream to end.
func (m *Mux) announceIdleLocked() {
	if len(m.streams) > 0 {
		return
	}
	for _, idle := range m.idle {
		close(idle)
	}
	m.idle = nil
}
