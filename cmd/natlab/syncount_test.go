//go:build linux

package main

import (
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/peerd/peerd/punch/natlab"
)

// synCount notes every SYN that a lab's site sends to another.
type synCount struct {
	server netip.Addr
	mu     sync.Mutex
	sent   map[[2]netip.Addr][]time.Time // by source and destination
}

func watchSYNs(lab *natlab.Lab) *synCount {
	c := &synCount{server: lab.Server.Addr(), sent: map[[2]netip.Addr][]time.Time{}}
	lab.Tap(func(p natlab.Packet) {
		if p.Event == natlab.Sent && p.Proto == 6 && p.Flags == natlab.SYN && p.Dst.Addr() != c.server {
			c.mu.Lock()
			defer c.mu.Unlock()
			key := [2]netip.Addr{p.Src.Addr(), p.Dst.Addr()}
			c.sent[key] = append(c.sent[key], p.Time)
		}
	})
	return c
}

// check compares what was sent with the caps.
func (c *synCount) check(t *testing.T) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	const most = 600
	for key, times := range c.sent {
		t.Logf("%v sent %d SYNs to %v", key[0], len(times), key[1])
		for i := most; i < len(times); i++ {
			if d := times[i].Sub(times[i-most]); d < time.Second {
				t.Errorf("%v sent %d SYNs to %v in %v", key[0], most+1, key[1], d)
			}
		}
	}
	if len(c.sent) == 0 {
		t.Error("no SYN was seen")
	}
}
