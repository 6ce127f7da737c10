package rendezvous

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/peerd/peerd/proto"
)

// party names a registration.
type party struct {
	id       proto.ID
	instance proto.Token
}

// member is a registered client.
type member struct {
	party
	observed proto.Candidate
	here     netip.AddrPort // the server's end of the connection
	token    proto.Token    // of STUN connections; see dialBacks
	source   netip.Prefix
	out      *outbox
	pace     *rate.Limiter // of what it sends; used by its reader only
	// handshake is the round trip that the TLS handshake has shown; 0 is none. It counts
	// once a ping has been answered.
	handshake time.Duration

	// Guarded by registry.mu.
	policy
	plan   uint32 // the newest plan version that it knows
	rtt    roundTrip
	gone   bool
	asked  map[*meeting]struct{}    // unanswered, it is the initiator
	offers map[proto.Token]*meeting // unanswered, it is the responder

	// shown are the STUN connections that have shown the token: the server's end, by
	// the client's endpoint. Guarded by dialBacks.mu.
	shown map[netip.AddrPort]netip.AddrPort
}

// policy is whose introductions a client wants to be offered; what it does not
// answer it never hears of.
type policy struct {
	answers    bool // everybody's
	answersFor []proto.ID
	away       time.Duration // for how long it is expected back after its connection's end
}

func policyOf(reg *proto.Register) policy {
	return policy{reg.Answers, reg.AnswersFor, min(time.Duration(reg.Away)*time.Second, proto.MaxWait)}
}

// names reports whether introductions from id are answered by name.
func (p *policy) names(id proto.ID) bool { return slices.Contains(p.answersFor, id) }

// attend reads what a member sends until its connection ends. It owns the
// connection.
func (s *Server) attend(m *member, conn io.Reader, raw net.Conn) {
	defer s.drop(raw)
	defer m.out.close(nil)
	defer s.backs.leave(m)
	err := s.receive(m, conn)
	s.registry.leave(m, time.Now())
	if f := failure(err); f != nil {
		s.log.Debug("client broke the protocol", "peer", m.id.Short(), "remote", m.observed.Addr, "error", err)
		m.out.last(f)
		io.Copy(io.Discard, conn)
		return
	}
	s.log.Debug("client left", "peer", m.id.Short(), "remote", m.observed.Addr, "reason", m.out.reason(err))
}

// failure returns what to tell the sender of a message that could not be
// read, or nil if the error is not its fault.
func failure(err error) *proto.Failure {
	for _, target := range []error{proto.ErrMalformed, proto.ErrTooLarge, proto.ErrVersion} {
		if errors.Is(err, target) {
			return &proto.Failure{Code: proto.CodeProtocol, Text: err.Error()}
		}
	}
	return nil
}

func (s *Server) receive(m *member, conn io.Reader) error {
	for {
		m.out.extend(proto.ServerIdle)
		t, payload, err := proto.ReadFrame(conn)
		if err != nil {
			return err
		}
		now := time.Now()
		if err := s.handle(m, t, payload, now); err != nil {
			return err
		}
		time.Sleep(m.pace.ReserveN(now, 1).DelayFrom(now)) // 1/messageRate at most
	}
}

// handle acts on one frame from a member. The error, which ends the
// connection, wraps ErrMalformed or ErrTooLarge of package proto.
func (s *Server) handle(m *member, t proto.Type, payload []byte, now time.Time) error {
	msg, err := proto.Parse(t, payload)
	if err != nil {
		return err
	}
	switch msg := msg.(type) {
	case nil: // of an unknown type that may be ignored
	case *proto.Register:
		return s.registry.update(m, msg, now)
	case *proto.Introduce:
		s.registry.introduce(m, msg, now)
	case *proto.Withdraw:
		s.registry.withdraw(m, msg.Request, now)
	case *proto.Answer:
		s.registry.answer(m, msg, now)
	case *proto.DialBack:
		s.dialBack(m, msg, now)
	case *proto.Ping:
		m.out.send(&proto.Pong{N: msg.N})
		m.out.ping()
	case *proto.Pong:
		if d, ok := m.out.ponged(msg.N, now); ok && s.registry.measured(m, d, now) {
			m.out.ping()
		}
	case *proto.Failure:
		return io.EOF
	default:
		return misplaced(t)
	}
	return nil
}
