package stream

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"time"
)

// An end that goes away without having read what it was sent must not look as
// if it had, although it had ended its own direction before.
func TestAbortAfterEndIsNotComplete(t *testing.T) {
	for name, leave := range map[string]func(*Stream){
		"abort": (*Stream).Abort,
		"close": func(s *Stream) { s.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			client, server, _ := pair(t)
			mine, theirs := open(t, client, server)
			if _, err := mine.Write(make([]byte, 100<<10)); err != nil {
				t.Fatal(err)
			}
			mine.CloseWrite()
			theirs.CloseWrite()
			if _, err := io.ReadAll(mine); err != nil {
				t.Fatal(err)
			}
			leave(theirs)
			if err := mine.Drain(within(t, 5*time.Second)); !errors.Is(err, ErrAborted) || !errors.Is(err, ErrReaderGone) {
				t.Errorf("Drain: %v, want ErrAborted and ErrReaderGone", err)
			}
			await(t, "every place is given back", func() bool { return len(client.opened)+len(server.accepted) == 0 })
		})
	}
}

// Calls on a session that has ended return, without leaving a place behind.
func TestCallsOnAnEndedSession(t *testing.T) {
	client, server, _ := pair(t)
	server.Close()
	<-client.Done()
	client.Close()
	for range 20 {
		ctx := within(t, 5*time.Second)
		if _, err := client.Ping(ctx); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("ping: %v", err)
		}
		if _, err := client.Open(ctx, "x"); err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("open: %v", err)
		}
	}
}

// A flood of pings ends the session instead of filling the memory: yamux keeps a
// goroutine for each until its answer is written.
func TestPingFlood(t *testing.T) {
	raw, in := loopback(t)
	defer raw.Close()
	m := Server(in, 0)
	defer m.Close()
	var flood []byte
	for i := range uint32(maxPings + 1) {
		var h [frameHeader]byte
		h[1] = framePing
		binary.BigEndian.PutUint16(h[2:], flagSYN)
		binary.BigEndian.PutUint32(h[8:], i)
		flood = append(flood, h[:]...)
	}
	for _, b := range flood { // in pieces, so that headers are cut in two
		if _, err := raw.Write([]byte{b}); err != nil {
			break
		}
	}
	select {
	case <-m.Done():
		if !errors.Is(m.Err(), ErrProtocol) {
			t.Errorf("the session ended with %v", m.Err())
		}
	case <-time.After(5 * time.Second):
		t.Error("the session goes on")
	}
}

// Ordinary traffic between pings is not taken for pings.
func TestMeterFollowsFrames(t *testing.T) {
	client, server, _ := pair(t)
	for range maxPings / 2 {
		a, b := open(t, client, server)
		go func() {
			a.Write(make([]byte, 300_000))
			a.CloseWrite()
		}()
		if n, err := io.Copy(io.Discard, b); n != 300_000 || err != nil {
			t.Fatalf("%d bytes, %v", n, err)
		}
		b.Close()
		if _, err := server.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
}

// A number may be used for one stream only at a time, and only by the end to
// which it belongs. yamux forgets a stream that was reset while others still
// have it.
func TestStreamNumbers(t *testing.T) {
	for name, numbers := range map[string]func(p rawPeer){
		"used twice": func(p rawPeer) {
			p.flag(1, flagRST)
			p.flag(1, flagSYN)
		},
		"of this end": func(p rawPeer) { p.flag(2, flagSYN) },
	} {
		t.Run(name, func(t *testing.T) {
			m, p := facing(t)
			p.listen(func(frame) {})
			accepted(t, m, p)
			numbers(p)
			select {
			case <-m.Done():
				if !errors.Is(m.Err(), ErrProtocol) {
					t.Errorf("the session ended with %v", m.Err())
				}
			case <-time.After(5 * time.Second):
				t.Error("the session goes on")
			}
		})
	}
}

// A peer that says GoAway takes no more streams: the session ends instead of
// being taken for one that is alive.
func TestGoAwayEndsTheSession(t *testing.T) {
	for code := range uint32(4) {
		m, p := facing(t)
		p.listen(func(frame) {})
		p.send(frame{kind: frameGoAway, length: code}, nil)
		select {
		case <-m.Done():
		case <-time.After(5 * time.Second):
			t.Errorf("the session goes on after code %d", code)
		}
		if _, err := m.Open(t.Context(), "x"); err == nil || err != m.Err() {
			t.Errorf("open: %v; the session: %v", err, m.Err())
		}
	}
}
