package main

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/peerd/peerd/punch/natlab"
)

// silentParty accepts every connection, says nothing, and counts what it is told.
type silentParty struct {
	addr      netip.AddrPort
	listener  net.Listener
	met, most atomic.Int64 // connections, and the bytes of the one with the most
	tasks     sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
}

func listenSilently(h *natlab.Host, addr netip.AddrPort) (p *silentParty, err error) {
	p = &silentParty{addr: addr}
	if p.listener, err = h.Listen(addr.String()); err != nil {
		return nil, err
	}
	p.tasks.Go(p.accept)
	return p, nil
}

func (p *silentParty) accept() {
	for {
		c, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.met.Add(1)
		p.mu.Lock()
		p.conns = append(p.conns, c)
		p.mu.Unlock()
		p.tasks.Go(func() { p.hear(c) })
	}
}

// hear reads until the other end closes, or p does.
func (p *silentParty) hear(c net.Conn) {
	defer c.Close()
	total, buf := int64(0), make([]byte, 4096)
	for {
		n, err := c.Read(buf)
		total += int64(n)
		for most := p.most.Load(); total > most && !p.most.CompareAndSwap(most, total); most = p.most.Load() {
		}
		if err != nil {
			return
		}
	}
}

func (p *silentParty) close() {
	p.listener.Close()
	p.mu.Lock()
	for _, c := range p.conns {
		c.Close()
	}
	p.mu.Unlock()
	p.tasks.Wait()
}
