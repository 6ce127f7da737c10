package main

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/peerd/peerd/punch/natlab"
)

// What a node may do on the wire (DESIGN [2], [3]).
const (
	maxPlainRate = 100 // SYNs to one address in any second, where no ports are predicted or guessed
	maxGuessRate = 600 // and where they are
	maxSockets   = 600 // that a node holds, listeners left out
)

// wireCount counts what leaves a host, from a capture before its NAT, and the
// sockets that the host holds.
type wireCount struct {
	host    *natlab.Host
	capture *natlab.Capture
	stop    chan struct{}
	polling sync.WaitGroup

	mu      sync.Mutex
	sockets int
	err     error
}

// countWire begins to count. finish ends it.
func countWire(h *natlab.Host) (*wireCount, error) {
	capture, err := h.Capture()
	if err != nil {
		return nil, err
	}
	c := &wireCount{host: h, capture: capture, stop: make(chan struct{})}
	c.polling.Go(c.poll)
	return c, nil
}

// socketPoll is how often the sockets are counted: the shortest hold of a dial
// that is not refused is five times that.
const socketPoll = 20 * time.Millisecond

// poll keeps the greatest number of sockets.
func (c *wireCount) poll() {
	tick := time.NewTicker(socketPoll)
	defer tick.Stop()
	for {
		table, err := tcpTable(c.host)
		held := 0
		for _, s := range table {
			if s.state != tcpListen && s.state != tcpTimeWait && !s.remote.Addr().IsLoopback() {
				held++
			}
		}
		c.mu.Lock()
		c.sockets, c.err = max(c.sockets, held), errors.Join(c.err, err)
		c.mu.Unlock()
		select {
		case <-tick.C:
		case <-c.stop:
			return
		}
	}
}

// finish returns what was counted.
func (c *wireCount) finish() (wireUse, error) {
	close(c.stop)
	c.polling.Wait()
	err := errors.Join(c.err, c.capture.Close())
	u := wireUse{sockets: c.sockets, syns: make(map[netip.Addr][]synSent)}
	for _, p := range c.capture.Packets() {
		if p.Event == natlab.Sent && p.Flags&(natlab.SYN|natlab.ACK) == natlab.SYN {
			u.syns[p.Dst.Addr()] = append(u.syns[p.Dst.Addr()], synSent{p.Time, p.Dst.Port()})
		}
	}
	return u, err
}

// synSent is a SYN to some address.
type synSent struct {
	at   time.Time
	port uint16
}

// wireUse is what a host did on the wire.
type wireUse struct {
	sockets int
	syns    map[netip.Addr][]synSent // in the order in which they left
}

// fastest returns the address to which most SYNs went in any second, and how many.
func (u wireUse) fastest() (to netip.Addr, most int) {
	for _, addr := range slices.SortedFunc(maps.Keys(u.syns), netip.Addr.Compare) {
		if n := mostInASecond(u.syns[addr]); n > most {
			to, most = addr, n
		}
	}
	return to, most
}

// mostInASecond is the greatest number of SYNs in any second.
func mostInASecond(sent []synSent) (most int) {
	first := 0
	for i := range sent {
		for sent[i].at.Sub(sent[first].at) >= time.Second {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// total is the number of all SYNs.
func (u wireUse) total() (n int) {
	for _, sent := range u.syns {
		n += len(sent)
	}
	return n
}

// check returns which cap was exceeded, at a rate for one address, and to whom
// a SYN went to whom none may go.
func (u wireUse) check(rate int, allowed func(netip.Addr) bool) error {
	var errs []error
	if to, most := u.fastest(); most > rate {
		errs = append(errs, fmt.Errorf("%d SYNs in a second to %v, %d are the most", most, to, rate))
	}
	if u.sockets > maxSockets {
		errs = append(errs, fmt.Errorf("%d sockets, %d are the most", u.sockets, maxSockets))
	}
	for addr, sent := range u.syns {
		if !allowed(addr) {
			errs = append(errs, fmt.Errorf("%d SYNs to %v, the first to port %d", len(sent), addr, sent[0].port))
		}
	}
	return errors.Join(errs...)
}

// row is a line of a table.
func (u wireUse) row(name string, rate int) []string {
	to, most := u.fastest()
	return []string{name, fmt.Sprint(u.total()), fmt.Sprint(len(u.syns)), fmt.Sprintf("%d of %d, to %v", most, rate, to), fmt.Sprintf("%d of %d", u.sockets, maxSockets)}
}

var wireHead = []string{"who", "SYNs", "addresses", "most in a second to one", "most sockets"}
