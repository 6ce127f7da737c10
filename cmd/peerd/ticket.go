package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/proto"
)

// createTicket prints a ticket and waits until it is used.
func (p *program) createTicket(cmd *cobra.Command, o pairOptions) error {
	log := p.logger(slog.LevelWarn)
	cfg, err := p.nodeConfig(cmd, log)
	if err != nil {
		return err
	}
	if err := p.nameMayBe(cmd, o.name, proto.ID{}); err != nil {
		return err
	}
	// What cannot be stored later is better known now.
	if err := p.canStore(); err != nil {
		return err
	}
	t := proto.Ticket{Server: cfg.Server, Creator: cfg.Key.ID()}
	rand.Read(t.Seed[:]) // never fails: it crashes the program instead
	cfg.AnswerFor, cfg.Allow = []proto.ID{t.OneTimeID()}, []proto.ID{t.OneTimeID()}
	node, err := peer.New(cfg)
	if err != nil {
		return err
	}
	defer node.Close()
	l, err := node.Listen(cmd.Context(), proto.ServicePair)
	if err != nil {
		return err
	}
	if err := p.startIn(cmd.Context(), node, o.timeout); err != nil {
		return err
	}
	if err := p.showTicket(t, o.valid); err != nil {
		return err
	}
	d := &desk{creator: t.Creator, oneTime: t.OneTimeID(), name: hostName(), store: p.storing(o.name)}
	return p.attend(cmd.Context(), node, l, d, o.valid)
}

// startIn registers a node within a time.
func (p *program) startIn(ctx context.Context, node *peer.Node, limit time.Duration) error {
	waiting := &timeoutError{limit, "registering with " + p.names.server}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, waiting)
	defer cancel()
	return interrupted(ctx, node.Start(ctx))
}

// showTicket prints the ticket, and tells a person what to do with it.
func (p *program) showTicket(t proto.Ticket, valid time.Duration) error {
	if p.screen.isTerminal() {
		fmt.Fprint(p.screen, drawQR(t.String(), p.screen.width()))
	}
	fmt.Fprintf(p.screen, "peerd: run \"peerd pair -\" on the other machine within %v, and give it this line:\n", valid)
	return p.println(t.String())
}

// attend serves those who come with the ticket until one of them is paired with,
// or the time is over.
func (p *program) attend(ctx context.Context, node *peer.Node, l net.Listener, d *desk, valid time.Duration) error {
	expired := &codedError{exitTimeout, fmt.Sprintf("nobody came with the ticket within %v, and it is void now; run \"peerd pair\" again for a new one", valid)}
	ctx, cancel := context.WithTimeoutCause(ctx, valid, expired)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { node.Close() })
	defer stop()
	done := make(chan error, 1)
	var visits sync.WaitGroup
	for {
		conn, err := l.Accept()
		if err != nil {
			visits.Wait()
			select {
			case err = <-done:
				return err
			default:
				return interrupted(ctx, err)
			}
		}
		visits.Go(func() {
			if err := p.receive(d, conn.(*peer.Stream)); !errors.Is(err, errNotPaired) {
				done <- err
				stop()
				l.Close() // the others are told that they come too late
			}
		})
	}
}

// errNotPaired means that the ticket is still to be used, or was used by another
// visitor.
var errNotPaired = errors.New("not paired")

// receive serves one visitor.
func (p *program) receive(d *desk, conn *peer.Stream) error {
	stored, err := d.serve(conn)
	switch {
	case stored == nil:
		fmt.Fprintf(p.screen, "peerd: not paired with who came with the ticket: %v\n", oneLine(err.Error()))
		return errNotPaired
	case err != nil:
		return fmt.Errorf("paired with %s, but %w; if the other machine says that it is not paired, take that back with \"peerd deny\" and pair again", stored, err)
	}
	fmt.Fprintf(p.screen, "peerd: paired with %s\n", stored)
	return nil
}
