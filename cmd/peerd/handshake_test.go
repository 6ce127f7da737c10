package main

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
)

// shelf stores peers in memory.
type shelf struct {
	mu     sync.Mutex
	stored []proto.ID
	fail   error
}

type label string

func (l label) String() string { return string(l) }

func (s *shelf) store(id proto.ID, suggested string) (fmt.Stringer, func() error, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		return nil, nil, s.fail
	}
	s.stored = append(s.stored, id)
	return label(suggested), func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.stored = slices.DeleteFunc(s.stored, func(o proto.ID) bool { return o == id })
		return nil
	}, nil
}

func (s *shelf) has(ids ...proto.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Equal(s.stored, ids)
}

// pairingWorld is a ticket with both sides of it.
type pairingWorld struct {
	ticket           proto.Ticket
	creator, visitor *identity.Key
	desk             *desk
	there, here      shelf // the creator's, the visitor's
}

func newPairingWorld(t *testing.T) *pairingWorld {
	leak := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, leak) })
	w := &pairingWorld{creator: identity.Generate(), visitor: identity.Generate()}
	w.ticket = proto.Ticket{Server: proto.ServerURL{Host: "host", Port: 1, Key: proto.ID{1}}, Creator: w.creator.ID()}
	w.desk = &desk{creator: w.creator.ID(), oneTime: w.ticket.OneTimeID(), name: "home", store: w.there.store}
	return w
}

// wire is a connection between two ends.
func wire(t *testing.T) (a, b *net.TCPConn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); s.Close() })
	return s.(*net.TCPConn), c.(*net.TCPConn)
}

// served is what desk.serve returned.
type served struct {
	stored fmt.Stringer
	err    error
}

// serve has the creator serve one end of a connection, and returns the other.
func (w *pairingWorld) serve(t *testing.T) (*net.TCPConn, <-chan served) {
	a, b := wire(t)
	done := make(chan served, 1)
	go func() { stored, err := w.desk.serve(a); done <- served{stored, err} }()
	return b, done
}

// visit has a visitor with a key visit somebody.
func (w *pairingWorld) visit(conn halfCloser) (fmt.Stringer, error) {
	return visit(conn, w.ticket, w.visitor, "trip", w.here.store)
}

func TestPairing(t *testing.T) {
	w := newPairingWorld(t)
	conn, done := w.serve(t)
	stored, err := w.visit(conn)
	if err != nil || stored.String() != "home" || !w.here.has(w.creator.ID()) {
		t.Errorf("the visitor has stored %v as %v, %v", w.here.stored, stored, err)
	}
	if d := <-done; d.err != nil || d.stored.String() != "trip" || !w.there.has(w.visitor.ID()) {
		t.Errorf("the creator has stored %v as %v, %v", w.there.stored, d.stored, d.err)
	}
}

func TestTicketWorksOnce(t *testing.T) {
	w := newPairingWorld(t)
	results := make(chan error)
	for range 5 {
		conn, _ := w.serve(t)
		key := identity.Generate()
		go func() {
			_, err := visit(conn, w.ticket, key, "trip", w.here.store)
			results <- err
		}()
	}
	paired := 0
	for range 5 {
		err := <-results
		var refused *refusedPairing
		switch {
		case err == nil:
			paired++
		case !errors.As(err, &refused) || refused.code != proto.CodeRefused:
			t.Errorf("a visitor who comes too late: %v", err)
		}
	}
	if paired != 1 || len(w.there.stored) != 1 || len(w.here.stored) != 1 {
		t.Errorf("%d were paired; stored there %v, here %v", paired, w.there.stored, w.here.stored)
	}
}

// Nobody is paired as somebody else, nor with a claim from another exchange.
func TestClaimMustBeProven(t *testing.T) {
	for name, claimed := range map[string]func(w *pairingWorld, nonce proto.Token) *proto.Claim{
		"another ID": func(w *pairingWorld, nonce proto.Token) *proto.Claim {
			return &proto.Claim{ID: proto.ID{7}, Signature: w.visitor.Sign(proto.ClaimText(w.creator.ID(), w.ticket.OneTimeID(), nonce))}
		},
		"another exchange": func(w *pairingWorld, _ proto.Token) *proto.Claim {
			return &proto.Claim{ID: w.visitor.ID(), Signature: w.visitor.Sign(proto.ClaimText(w.creator.ID(), w.ticket.OneTimeID(), proto.NewToken()))}
		},
		"another creator": func(w *pairingWorld, nonce proto.Token) *proto.Claim {
			return &proto.Claim{ID: w.visitor.ID(), Signature: w.visitor.Sign(proto.ClaimText(proto.ID{7}, w.ticket.OneTimeID(), nonce))}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newPairingWorld(t)
			conn, done := w.serve(t)
			pairing, err := readOne[*proto.Pairing](conn)
			if err != nil {
				t.Fatal(err)
			}
			proto.Write(conn, claimed(w, pairing.Nonce))
			var refused *refusedPairing
			if err := readDone(conn); !errors.As(err, &refused) || refused.code != proto.CodeProtocol {
				t.Errorf("the answer is %v", err)
			}
			conn.Close()
			if d := <-done; d.stored != nil || d.err == nil || !w.there.has() {
				t.Errorf("stored %v, %v", w.there.stored, d.err)
			}
		})
	}
}

// A side that cannot store the other tells it, and nobody is authorised; then
// the ticket is still good.
func TestPairingThatCannotBeStored(t *testing.T) {
	full := errors.New("disk full")
	for name, side := range map[string]func(w *pairingWorld) *shelf{
		"there": func(w *pairingWorld) *shelf { return &w.there },
		"here":  func(w *pairingWorld) *shelf { return &w.here },
	} {
		t.Run(name, func(t *testing.T) {
			w := newPairingWorld(t)
			side(w).fail = full
			conn, done := w.serve(t)
			_, err := w.visit(conn)
			d := <-done
			if err == nil {
				t.Error("the visitor takes it for done")
			}
			told := 0
			for _, err := range []error{err, d.err} {
				var refused *refusedPairing
				if errors.As(err, &refused) {
					told++
					if refused.code != proto.CodeNotStored || refused.text != cannotStore {
						t.Errorf("the other side is told %v", refused)
					}
				} else if !errors.Is(err, full) {
					t.Errorf("who cannot store says %v", err)
				}
			}
			if told != 1 || d.err == nil || d.stored != nil || !w.there.has() || !w.here.has() {
				t.Errorf("stored there %v, here %v; %v", w.there.stored, w.here.stored, d.err)
			}
			side(w).fail = nil
			conn, done = w.serve(t)
			if _, err := w.visit(conn); err != nil {
				t.Errorf("the second attempt: %v", err)
			}
			if d := <-done; d.err != nil {
				t.Errorf("the second attempt: %v", d.err)
			}
		})
	}
}

// A visitor that hears nothing of the last step takes back what it has stored.
func TestVisitorTakesBack(t *testing.T) {
	w := newPairingWorld(t)
	a, b := wire(t)
	go func() {
		proto.Write(a, &proto.Pairing{Nonce: proto.NewToken()})
		proto.Read(a)
		proto.Write(a, &proto.Paired{})
		proto.Read(a)
		a.Close()
	}()
	if stored, err := w.visit(b); err == nil || stored != nil || !w.here.has() {
		t.Errorf("stored %v, %v", w.here.stored, err)
	}
}

// A creator stores nobody before the visitor has stored it; and if it cannot know
// whether the visitor has heard of the last step, it says so.
func TestVisitorLeaves(t *testing.T) {
	for _, confirms := range []bool{false, true} {
		w := newPairingWorld(t)
		conn, done := w.serve(t)
		pairing, err := readOne[*proto.Pairing](conn)
		if err != nil {
			t.Fatal(err)
		}
		proof := w.visitor.Sign(proto.ClaimText(w.creator.ID(), w.ticket.OneTimeID(), pairing.Nonce))
		proto.Write(conn, &proto.Claim{ID: w.visitor.ID(), Signature: proof})
		if err := readDone(conn); err != nil {
			t.Fatal(err)
		}
		if confirms {
			proto.Write(conn, &proto.Paired{})
			if err := readDone(conn); err != nil {
				t.Fatal(err)
			}
		}
		conn.SetLinger(0) // cut off, not ended
		conn.Close()
		d := <-done
		if d.err == nil || (d.stored != nil) != confirms || w.there.has(w.visitor.ID()) != confirms {
			t.Errorf("confirmed %v: stored %v, %v", confirms, w.there.stored, d.err)
		}
	}
}

// Whoever says nothing does not keep the creator, and garbage stores nobody.
func TestStrangeVisitors(t *testing.T) {
	w := newPairingWorld(t)
	for _, say := range []string{"", "GET / HTTP/1.1\r\n\r\n", "\x01\x15\x00\x01\xa0"} {
		conn, done := w.serve(t)
		conn.Write([]byte(say))
		conn.CloseWrite()
		select {
		case d := <-done:
			if d.err == nil || !w.there.has() {
				t.Errorf("%q: %v", say, d.err)
			}
		case <-time.After(20 * time.Second):
			t.Fatalf("%q keeps the creator", say)
		}
	}
}
