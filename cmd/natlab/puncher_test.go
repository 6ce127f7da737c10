//go:build linux

package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch"
	"github.com/peerd/peerd/punch/natlab"
	"github.com/peerd/peerd/punch/reuse"
)

// puncher is a claimed port of one of the lab's hosts, to punch from in this process.
type puncher struct {
	host  *natlab.Host
	port  *reuse.Port
	gate  *punch.Gate
	slots reuse.Slots
	calls chan func() // are made on a thread that stays in the host's namespace
}

func newPuncher(t *testing.T, h *natlab.Host, number uint16) *puncher {
	t.Helper()
	return newPuncherIn(t, h, number, reuse.Shared)
}

func newPuncherIn(t *testing.T, h *natlab.Host, number uint16, mode reuse.Mode) *puncher {
	t.Helper()
	p := &puncher{host: h, gate: punch.NewGate(slog.New(slog.DiscardHandler)), calls: make(chan func())}
	go h.Do(func() error {
		for call := range p.calls {
			call()
		}
		return nil
	})
	err := p.do(func() (err error) {
		p.port, err = reuse.Claim(number, mode)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range p.port.Listeners() {
		go p.gate.Serve(l)
	}
	t.Cleanup(func() {
		p.gate.Close()
		p.port.Close()
		close(p.calls)
	})
	return p
}

// do runs f on the host.
func (p *puncher) do(f func() error) error {
	result := make(chan error)
	p.calls <- func() { result <- f() }
	return <-result
}

func (p *puncher) start(t *testing.T, transcript *proto.Transcript, role proto.Role) *punch.Run {
	t.Helper()
	return p.startWith(t, transcript, role, func(punch.Event) {})
}

// startWith also has the events called back.
func (p *puncher) startWith(t *testing.T, transcript *proto.Transcript, role proto.Role, event func(punch.Event)) *punch.Run {
	t.Helper()
	run, err := punch.Start(punch.RunConfig{
		Transcript: transcript, Role: role, Secret: proto.Secret{1}, Received: time.Now(), Dial: p.dial, Gate: p.gate,
		Quiet: true, OtherPorts: true, Deaf: p.port.Mode() != reuse.Shared, Sequential: p.port.Mode() == reuse.Sequential,
		Trace: func(e punch.Event) {
			t.Log(p.host.Name(), e)
			event(e)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(run.Stop)
	return run
}

func (p *puncher) dial(to netip.AddrPort, o punch.DialOptions) (d punch.Dialling) {
	err := p.do(func() (err error) {
		opts := reuse.DialOptions{TTL: o.TTL, Brief: o.Brief}
		if opts.From = o.From; o.Slot > 0 {
			if opts.From, err = p.slots.Number(o.Slot); err != nil {
				return err
			}
		}
		d = hostDial{p.port.BeginWith(to, opts)}
		return nil
	})
	if err != nil {
		return failedDial{err}
	}
	return d
}

// hostDial is a dial of one of the lab's hosts.
type hostDial struct{ *reuse.Dial }

// Wait implements punch.Dialling.
func (d hostDial) Wait(ctx context.Context) (net.Conn, error) {
	conn, err := d.Dial.Wait(ctx)
	switch {
	case reuse.IsRefused(err):
		return nil, fmt.Errorf("%w (%v)", punch.ErrRefused, err)
	case reuse.IsTupleInUse(err):
		return nil, fmt.Errorf("%w (%v)", punch.ErrTupleInUse, err)
	}
	return conn, err
}

type failedDial struct{ err error }

// Wait implements punch.Dialling.
func (d failedDial) Wait(context.Context) (net.Conn, error) { return nil, d.err }

// Answered implements punch.Dialling.
func (failedDial) Answered() bool { return false }

// Acknowledged implements punch.Dialling.
func (failedDial) Acknowledged() bool { return true }
