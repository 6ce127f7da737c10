package natlab

import (
	"testing"
	"time"
)

// at is a moment of the line tests.
func at(ms int) time.Time { return time.Unix(0, 0).Add(time.Duration(ms) * time.Millisecond) }

// A line of 1 byte per ms.
func TestLine(t *testing.T) {
	l := line{rate: 8000, queue: 100}
	for _, s := range []struct {
		at, size, left int // left is 0 where the packet is dropped
		why            string
	}{
		{0, 40, 40, "the line is free"},
		{10, 60, 100, "behind what is being sent"},
		{10, 11, 0, "90 of 100 bytes are taken"},
		{10, 10, 110, "the rest of the queue"},
		{20, 10, 120, "as much as was sent meanwhile"},
		{500, 101, 601, "a packet that finds the line free always passes"},
		{600, 99, 700, "a byte is left"},
		{600, 1, 0, "full to the byte"},
	} {
		left, ok := l.send(at(s.at), s.size)
		if ok != (s.left != 0) || ok && left != at(s.left) {
			t.Errorf("%d bytes at %d ms, %s: left at %v, %v, want %d ms", s.size, s.at, s.why, left.Sub(at(0)), ok, s.left)
		}
	}
}

func TestQueueDefault(t *testing.T) {
	for _, c := range []struct {
		cfg  Config
		want int
	}{
		{Config{Rate: 100e6, RTT: 20 * time.Millisecond}, 250_000},
		{Config{Rate: 1e6, RTT: 20 * time.Millisecond}, leastQueue},
		{Config{Rate: 100e6, RTT: 20 * time.Millisecond, Queue: 3000}, 3000},
	} {
		if got := c.cfg.queue(); got != c.want {
			t.Errorf("%+v: queue of %d bytes, want %d", c.cfg, got, c.want)
		}
	}
}
