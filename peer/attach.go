package peer

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/peerd/peerd/proto"
)

// A session begins with ATTACH at epoch 1 from its creator, the introduction's
// initiator, and ATTACHED from the other side. The creator's data follows
// ATTACH at once, so it costs no round trip of its own.

// attachLimit bounds the wait for the other side's record.
const attachLimit = 10 * time.Second

// errAttach means that the other side's record is not what it should be.
var errAttach = errors.New("the peer's attach record is not valid on this connection")

// attached is a secure connection that a session has in use.
type attached struct {
	*secured
	local, remote Addr
	begun         time.Time

	once    sync.Once
	await   func() error  // reads the confirmation; nil where there is none to read
	settled chan struct{} // closed once confirmed or failed
	err     error         // set before settled is closed
	rtt     time.Duration

	in, out atomic.Uint64 // bytes of the session, behind the records
}

// LocalAddr implements net.Conn.
func (a *attached) LocalAddr() net.Addr { return a.local }

// RemoteAddr implements net.Conn: the verified ID of the peer.
func (a *attached) RemoteAddr() net.Addr { return a.remote }

// Read reads the session's bytes, behind the confirmation.
func (a *attached) Read(b []byte) (int, error) {
	a.once.Do(a.confirm)
	if a.err != nil {
		return 0, a.err
	}
	n, err := a.secured.Read(b)
	a.in.Add(uint64(n))
	return n, err
}

// Write implements net.Conn.
func (a *attached) Write(b []byte) (int, error) {
	n, err := a.secured.Write(b)
	a.out.Add(uint64(n))
	return n, err
}

func (a *attached) confirm() {
	if a.await != nil {
		a.err = a.await()
		a.rtt = time.Since(a.begun)
	}
	close(a.settled)
}

func (m *meeting) attachedOn(s *secured) *attached {
	return &attached{
		secured: s, begun: time.Now(), settled: make(chan struct{}),
		local: Addr{m.node.ID()}, remote: Addr{m.peer},
	}
}

// create sends ATTACH for a new session.
func (m *meeting) create(s *secured) (*attached, error) {
	binding, key, err := s.exporters()
	if err != nil {
		return nil, err
	}
	request := proto.Attach{Kind: proto.KindAttach, Session: proto.NewToken(), Epoch: 1}
	record := request.Marshal(key, binding)
	if _, err := s.Write(record[:]); err != nil {
		return nil, err
	}
	a := m.attachedOn(s)
	a.await = func() error { return awaitAttached(s, request, key, binding) }
	return a, nil
}

// awaitAttached reads the answer to ATTACH.
func awaitAttached(s *secured, request proto.Attach, key, binding []byte) error {
	answer, err := readAttach(s, key, binding)
	switch {
	case err != nil:
		return err
	case answer.Kind == proto.KindRefused:
		return refusal(answer.Code)
	case answer.Kind != proto.KindAttached || answer.Session != request.Session || answer.Epoch != request.Epoch:
		return errAttach
	}
	return nil
}

// refusal says what the code of a REFUSED means to the user.
func refusal(code proto.Code) error {
	if code == proto.CodeNotAuthorised {
		return ErrNotAuthorised
	}
	return fmt.Errorf("the peer refused the session: %v", code)
}

// readAttach reads a record and checks that it belongs to this connection.
func readAttach(s net.Conn, key, binding []byte) (proto.Attach, error) {
	var record [proto.AttachSize]byte
	s.SetReadDeadline(time.Now().Add(attachLimit))
	if _, err := io.ReadFull(s, record[:]); err != nil {
		return proto.Attach{}, err
	}
	s.SetReadDeadline(time.Time{})
	a, err := proto.ParseAttach(record)
	if err == nil && !proto.VerifyAttach(record, key, binding) {
		err = errAttach
	}
	return a, err
}

// accept waits for ATTACH on a connection. The answer is left to confirmTo.
func (m *meeting) accept(s *secured) (*offered, error) {
	binding, key, err := s.exporters()
	if err != nil {
		return nil, err
	}
	request, err := readAttach(s, key, binding)
	if err != nil {
		return nil, err
	}
	if request.Kind != proto.KindAttach || request.Epoch != 1 {
		return nil, errAttach
	}
	return &offered{secured: s, request: request, key: key, binding: binding}, nil
}

// offered is a connection on which the session's creator has sent ATTACH.
type offered struct {
	*secured
	request      proto.Attach
	key, binding []byte
}

// answer sends ATTACHED, or REFUSED if code is not CodeOK.
func (o *offered) answer(code proto.Code) error {
	reply := proto.Attach{Kind: proto.KindAttached, Session: o.request.Session, Epoch: o.request.Epoch}
	if code != proto.CodeOK {
		reply.Kind, reply.Code = proto.KindRefused, code
	}
	record := reply.Marshal(o.key, o.binding)
	_, err := o.Write(record[:])
	return err
}
