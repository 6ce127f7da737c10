package stream

import (
	"context"

	"github.com/peerd/peerd/proto"
)

// A stream's first message, from its opener, is a request: proto.Open for a
// target, or proto.Listen for connections from the other end's network. The
// acceptor answers it.

// OpenListen opens a stream by which this end asks the other one to listen at
// an address for as long as the stream lives, and to bring each connection by a
// stream to the target reply. Opened says whether it does, Bound where. Nothing
// is to be written.
func (m *Mux) OpenListen(ctx context.Context, bind, reply string) (*Stream, error) {
	return m.request(ctx, &proto.Listen{Bind: bind, Reply: reply})
}

// Done is closed when the session that carries the stream has ended. Reading and
// writing say so, too; Done is for who does neither at the moment.
func (s *Stream) Done() <-chan struct{} { return s.mux.done }

// Ended reports whether both directions have ended: END was read and sent. What
// becomes of the session then does not concern the stream any more.
func (s *Stream) Ended() bool {
	s.state.Lock()
	defer s.state.Unlock()
	return s.endRead && s.endSent
}

// Request returns what the stream's opener asked for: a *proto.Open or a
// *proto.Listen.
func (s *Stream) Request() proto.Message { return s.request }

// Target returns the target that the stream's opener asked for, or the address
// at which it wants this end to listen.
func (s *Stream) Target() string {
	switch r := s.request.(type) {
	case *proto.Open:
		return r.Target
	case *proto.Listen:
		return r.Bind
	}
	return "" // not read yet
}

// isRequest reports whether a stream may begin with a message.
func isRequest(m proto.Message) bool {
	switch m.(type) {
	case *proto.Open, *proto.Listen:
		return true
	}
	return false
}

// Confirm tells the opener that its target is there. It is to be called once,
// before anything is written, on a stream from Accept whose Request is a
// *proto.Open.
func (s *Stream) Confirm() error { return s.answer(&proto.Opened{}) }

// ConfirmListening is Confirm for a *proto.Listen: this end listens at addr.
func (s *Stream) ConfirmListening(addr string) error {
	return s.answer(&proto.Listening{Addr: addr})
}

// Refuse tells the opener why there is no stream, and closes it.
func (s *Stream) Refuse(code proto.Code, text string) {
	if _, ok := s.request.(*proto.Listen); ok {
		s.answer(&proto.Listening{Code: code, Text: text})
	} else {
		s.answer(&proto.Opened{Code: code, Text: text})
	}
	s.Abort()
}

// Bound returns where the other end listens, once Opened has returned nil on a
// stream of OpenListen.
func (s *Stream) Bound() string {
	s.read.Lock()
	defer s.read.Unlock()
	return s.bound
}

// outcomeLocked takes the answer to the stream's request apart; ok says whether
// it is one.
func (s *Stream) outcomeLocked(answer proto.Message) (code proto.Code, text string, ok bool) {
	switch a := answer.(type) {
	case *proto.Opened:
		_, ok = s.request.(*proto.Open)
		return a.Code, a.Text, ok
	case *proto.Listening:
		s.bound = a.Addr
		_, ok = s.request.(*proto.Listen)
		return a.Code, a.Text, ok
	}
	return 0, "", false
}
