package stream

import (
	"encoding/binary"
	"fmt"
	"net"
	"sync/atomic"
	"time"
)

// meter is what yamux reads from and writes to. It notes whether the connection
// is alive, tells of its failure, and keeps the other end from pinging without
// bounds: yamux starts a goroutine for each ping, which lasts until its answer
// is written.
type meter struct {
	net.Conn
	failed func(error)

	heard   atomic.Bool  // something was read; the watcher resets it
	wrote   atomic.Bool  // something was written; the watcher resets it
	writing atomic.Int32 // writes under way

	// The rest belongs to yamux's receiving goroutine.
	header [frameHeader]byte
	filled int    // bytes of header read so far
	body   uint32 // bytes of the frame's body to come
	pings  int    // that the other end has sent, less what the time allows
	since  time.Time
}

// A yamux frame's header: version, type, flags (2), stream (4), length (4).
const (
	frameHeader = 12
	frameData   = 0
	framePing   = 2
	flagSYN     = 1
)

const (
	maxPings  = 32          // at once
	pingEvery = time.Second // one more is allowed
)

// Read implements io.Reader.
func (m *meter) Read(b []byte) (int, error) {
	n, err := m.Conn.Read(b)
	if n > 0 {
		m.heard.Store(true)
	}
	if err == nil {
		err = m.inspect(b[:n])
	}
	if err != nil {
		m.failed(err)
	}
	return n, err
}

// Write implements io.Writer.
func (m *meter) Write(b []byte) (int, error) {
	m.writing.Add(1)
	defer m.writing.Add(-1)
	n, err := m.Conn.Write(b)
	m.wrote.Store(true)
	return n, err
}

// inspect follows the frames and counts the pings among them.
func (m *meter) inspect(b []byte) error {
	for len(b) > 0 {
		if skip := min(m.body, uint32(len(b))); skip > 0 {
			m.body, b = m.body-skip, b[skip:]
			continue
		}
		n := copy(m.header[m.filled:], b)
		m.filled, b = m.filled+n, b[n:]
		if m.filled < frameHeader {
			return nil
		}
		m.filled = 0
		if err := m.frame(); err != nil {
			return err
		}
	}
	return nil
}

func (m *meter) frame() error {
	flags := binary.BigEndian.Uint16(m.header[2:])
	switch m.header[1] {
	case frameData:
		m.body = binary.BigEndian.Uint32(m.header[8:])
	case framePing:
		if flags&flagSYN != 0 {
			return m.ping()
		}
	}
	return nil
}

func (m *meter) ping() error {
	if passed := int(time.Since(m.since) / pingEvery); passed > 0 {
		m.pings = max(0, m.pings-passed)
		m.since = time.Now()
	}
	if m.pings++; m.pings > maxPings {
		return fmt.Errorf("%w: too many pings", ErrProtocol)
	}
	return nil
}
