package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
)

// Pairing is proto's exchange on a stream to proto.ServicePair. Neither side
// authorises the other before it knows that the other will, too; who has, and
// then hears of a failure or of nothing, takes that back.

// handshakeLimit bounds one exchange.
const handshakeLimit = 20 * time.Second

// halfCloser is a stream.
type halfCloser interface {
	net.Conn
	CloseWrite() error
}

// storing stores another peer under the name that it suggests, or a similar one.
// It says what was stored, and how to take that back.
type storing func(id proto.ID, suggested string) (stored fmt.Stringer, undo func() error, err error)

// desk is the creator's side of a ticket, which may be asked by several peers at
// a time. The first complete exchange wins.
type desk struct {
	creator, oneTime proto.ID
	name             string // that the creator suggests
	store            storing

	mu   sync.Mutex // held from the decision until it is carried out
	used fmt.Stringer
}

// errUsed means that somebody else has used the ticket.
var errUsed = errors.New("the ticket was used before")

// serve carries out one exchange. If stored is not nil the other peer is
// authorised here, even if there is an error: then it may not know.
func (d *desk) serve(conn halfCloser) (stored fmt.Stringer, err error) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(handshakeLimit))
	nonce := proto.NewToken()
	if err := proto.Write(conn, &proto.Pairing{Nonce: nonce, Name: d.name}); err != nil {
		return nil, err
	}
	claim, err := readOne[*proto.Claim](conn)
	if err != nil {
		return nil, err
	}
	if !claim.Proves(d.creator, d.oneTime, nonce) {
		return nil, refuse(conn, proto.CodeProtocol, "the claim is not proven", fmt.Errorf("it does not prove that it is peer %s", claim.ID))
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.used != nil {
		return nil, refuse(conn, proto.CodeRefused, errUsed.Error(), errUsed)
	}
	return d.conclude(conn, claim)
}

// conclude carries out the decision to pair.
func (d *desk) conclude(conn halfCloser, claim *proto.Claim) (fmt.Stringer, error) {
	if err := proto.Write(conn, &proto.Paired{}); err != nil {
		return nil, err
	}
	if err := readDone(conn); err != nil {
		return nil, err
	}
	stored, undo, err := d.store(claim.ID, claim.Name)
	if err != nil {
		return nil, refuse(conn, proto.CodeNotStored, cannotStore, err)
	}
	if err := proto.Write(conn, &proto.Paired{}); err != nil {
		return nil, errors.Join(err, undo()) // it cannot have got that
	}
	d.used = stored
	conn.CloseWrite()
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		return stored, fmt.Errorf("it may not know that: %w", err)
	}
	return stored, nil
}

// cannotStore is all that the other side is told of a failure here: the reason
// would show it paths, and what is in files.
const cannotStore = "this machine cannot be stored there"

// refuse tells the other side that there is no pairing, with a text for it, and
// returns why.
func refuse(conn halfCloser, code proto.Code, text string, why error) error {
	if err := proto.Write(conn, &proto.Paired{Code: code, Text: text}); err == nil {
		conn.CloseWrite()
		conn.Read(make([]byte, 1)) // until it has been read there
	}
	return why
}

// refusedPairing says that the other side does not pair.
type refusedPairing struct {
	code proto.Code
	text string
}

// Error implements error.
func (e *refusedPairing) Error() string {
	return fmt.Sprintf("the other side refuses: %v: %s", e.code, e.text)
}

// visit is the exchange from the side of who has the ticket.
func visit(conn halfCloser, t proto.Ticket, key *identity.Key, name string, store storing) (stored fmt.Stringer, err error) {
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(handshakeLimit))
	pairing, err := readOne[*proto.Pairing](conn)
	if err != nil {
		return nil, err
	}
	proof := key.Sign(proto.ClaimText(t.Creator, t.OneTimeID(), pairing.Nonce))
	if err := proto.Write(conn, &proto.Claim{ID: key.ID(), Name: name, Signature: proof}); err != nil {
		return nil, err
	}
	if err := readDone(conn); err != nil {
		return nil, err
	}
	stored, undo, err := store(t.Creator, pairing.Name)
	if err != nil {
		return nil, refuse(conn, proto.CodeNotStored, cannotStore, err)
	}
	err = proto.Write(conn, &proto.Paired{})
	if err == nil {
		err = readDone(conn)
	}
	if err != nil {
		if failed := undo(); failed != nil {
			return nil, fmt.Errorf("%w; and the other machine stays authorised here: %w", err, failed)
		}
		return nil, err
	}
	conn.CloseWrite()
	conn.Read(make([]byte, 1)) // so that both know of the end
	return stored, nil
}

// readDone reads a step that went well.
func readDone(conn net.Conn) error {
	m, err := readOne[*proto.Paired](conn)
	if err == nil && m.Code != proto.CodeOK {
		err = &refusedPairing{m.Code, m.Text}
	}
	return err
}

// readOne reads the message that is due. A refusal may come in its place.
func readOne[M proto.Message](conn net.Conn) (m M, err error) {
	got, err := proto.Read(conn)
	switch got := got.(type) {
	case M:
		return got, nil
	case *proto.Paired:
		return m, &refusedPairing{got.Code, got.Text}
	case nil:
		return m, err
	}
	return m, fmt.Errorf("%w: %s out of place", proto.ErrMalformed, got.Type())
}
