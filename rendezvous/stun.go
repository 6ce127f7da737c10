package rendezvous

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/pion/stun/v3"
)

// STUN over TCP, RFC 8489, section 6.2.2: the length in the header frames the
// messages, and one connection may carry several requests.
const (
	stunHeaderSize = 20
	stunCookie     = 0x2112A442
	// maxSTUNBody bounds the attributes of one message, in bytes.
	maxSTUNBody = 1500
	// stunIdle is how long the server waits for the next whole request, and
	// stunLife and stunRequests are what one connection gets in all. They
	// suffice for any measurement of a NAT.
	stunIdle     = 30 * time.Second
	stunLife     = 5 * time.Minute
	stunRequests = 64
	stunSoftware = "peerd"
	// stunToken is the comprehension-optional attribute with which a request names a
	// registration, proto.Registered.ProbeToken.
	stunToken stun.AttrType = 0xF0D0
)

// ErrNotSTUN is wrapped by the errors of Binding for a server that does not
// speak STUN as RFC 8489 demands.
var ErrNotSTUN = errors.New("not a valid STUN message")

// stunKnown are the comprehension-required attributes that RFC 8489 itself
// defines. In a Binding request without credentials they mean nothing here and
// are ignored; anything else below 0x8000 is refused with 420, among it what
// RFC 5780 would have this server do.
var stunKnown = []stun.AttrType{
	stun.AttrMappedAddress, stun.AttrUsername, stun.AttrMessageIntegrity, stun.AttrErrorCode,
	stun.AttrUnknownAttributes, stun.AttrRealm, stun.AttrNonce, stun.AttrMessageIntegritySHA256,
	stun.AttrPasswordAlgorithm, stun.AttrUserhash, stun.AttrXORMappedAddress,
}

// readSTUN reads one message into m, reusing its memory. The error is io.EOF
// if r ended before the first byte; it wraps ErrNotSTUN if the bytes are not
// such a message.
func readSTUN(r io.Reader, m *stun.Message) error {
	m.Raw = slices.Grow(m.Raw[:0], stunHeaderSize)[:stunHeaderSize]
	if _, err := io.ReadFull(r, m.Raw); err != nil {
		return err
	}
	n := int(binary.BigEndian.Uint16(m.Raw[2:]))
	if !isSTUN(m.Raw[0]) || binary.BigEndian.Uint32(m.Raw[4:]) != stunCookie || n%4 != 0 || n > maxSTUNBody {
		return fmt.Errorf("%w: header % x", ErrNotSTUN, m.Raw[:8])
	}
	m.Raw = slices.Grow(m.Raw, n)[:stunHeaderSize+n]
	if _, err := io.ReadFull(r, m.Raw[stunHeaderSize:]); err != nil {
		return unexpected(err)
	}
	if err := m.Decode(); err != nil {
		return fmt.Errorf("%w: %v", ErrNotSTUN, err)
	}
	if m.Contains(stun.AttrFingerprint) {
		if err := stun.Fingerprint.Check(m); err != nil {
			return fmt.Errorf("%w: %v", ErrNotSTUN, err)
		}
	}
	return nil
}

// unexpected turns the EOF inside a message into io.ErrUnexpectedEOF.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// respond returns the answer to a message that came from the given endpoint,
// or nil if it is not a Binding request.
func respond(m *stun.Message, from netip.AddrPort) (*stun.Message, error) {
	if m.Type != stun.BindingRequest {
		return nil, nil
	}
	setters := []stun.Setter{stun.NewTransactionIDSetter(m.TransactionID)}
	if unknown := unknownAttributes(m); unknown != nil {
		setters = append(setters, stun.BindingError, stun.CodeUnknownAttribute, unknown)
	} else {
		mapped := &stun.XORMappedAddress{IP: from.Addr().Unmap().AsSlice(), Port: int(from.Port())}
		setters = append(setters, stun.BindingSuccess, mapped)
	}
	setters = append(setters, stun.NewSoftware(stunSoftware))
	if m.Contains(stun.AttrFingerprint) {
		setters = append(setters, stun.Fingerprint)
	}
	return stun.Build(setters...)
}

// unknownAttributes returns what a server that is not to guess has to refuse.
func unknownAttributes(m *stun.Message) (unknown stun.UnknownAttributes) {
	for _, a := range m.Attributes {
		if a.Type.Required() && !slices.Contains(stunKnown, a.Type) && !slices.Contains(unknown, a.Type) {
			unknown = append(unknown, a.Type)
		}
	}
	return unknown
}

// serveSTUN answers the requests on one connection.
func (s *Server) serveSTUN(in *inbound, conn *wire) {
	defer s.backs.conceal(in)
	end := time.Now().Add(stunLife)
	m := new(stun.Message)
	for range stunRequests {
		next := time.Now().Add(stunIdle)
		if next.After(end) {
			next = end
		}
		in.raw.SetReadDeadline(next)
		if err := readSTUN(conn, m); err != nil {
			if err != io.EOF {
				s.quiet(in, "STUN connection failed", err)
			}
			return
		}
		if token, err := m.Get(stunToken); err == nil {
			s.backs.show(in, token)
		}
		answer, err := respond(m, in.from)
		if err != nil || answer == nil {
			continue
		}
		if _, err := conn.Write(answer.Raw); err != nil {
			return
		}
	}
}

// BindingError is a server's refusal to answer a Binding request.
type BindingError struct {
	Code   int // of RFC 8489, section 14.8
	Reason string
}

func (e *BindingError) Error() string {
	return fmt.Sprintf("STUN server answered %d %s", e.Code, e.Reason)
}

// maxStrayed bounds the messages that Binding skips.
const maxStrayed = 8

// Binding asks the STUN server at the other end of conn for the endpoint from
// which it sees this connection. It may be called again on the same
// connection, but not concurrently; after an error the connection is of no
// use. It leaves the deadlines of conn alone until ctx ends. The error is that
// of ctx, that of conn, a *BindingError, or wraps ErrNotSTUN.
func Binding(ctx context.Context, conn net.Conn) (netip.AddrPort, error) {
	return BindingAs(ctx, conn, nil)
}

// BindingAs is Binding for a connection that shows a registration's token, so that
// its far end may be dialled back from the server; see Client.DialBack. A nil token
// shows nothing.
func BindingAs(ctx context.Context, conn net.Conn, token []byte) (netip.AddrPort, error) {
	interrupted := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	mapped, err := binding(conn, token)
	if !interrupted() {
		return netip.AddrPort{}, ctx.Err()
	}
	return mapped, err
}

func binding(conn net.Conn, token []byte) (netip.AddrPort, error) {
	setters := []stun.Setter{stun.TransactionID, stun.BindingRequest}
	if token != nil {
		setters = append(setters, stun.RawAttribute{Type: stunToken, Value: token})
	}
	request, err := stun.Build(append(setters, stun.Fingerprint)...)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if _, err := conn.Write(request.Raw); err != nil {
		return netip.AddrPort{}, err
	}
	answer := new(stun.Message)
	for range maxStrayed {
		if err := readSTUN(conn, answer); err != nil {
			return netip.AddrPort{}, unexpected(err)
		}
		if answer.TransactionID == request.TransactionID {
			return mappedAddress(answer)
		}
	}
	return netip.AddrPort{}, fmt.Errorf("%w: no answer to this request", ErrNotSTUN)
}

// mappedAddress returns what a response says.
func mappedAddress(m *stun.Message) (netip.AddrPort, error) {
	switch m.Type {
	case stun.BindingSuccess:
	case stun.BindingError:
		var code stun.ErrorCodeAttribute
		if err := code.GetFrom(m); err != nil {
			return netip.AddrPort{}, fmt.Errorf("%w: error response without a code", ErrNotSTUN)
		}
		return netip.AddrPort{}, &BindingError{Code: int(code.Code), Reason: string(code.Reason)}
	default:
		return netip.AddrPort{}, fmt.Errorf("%w: response of type %s", ErrNotSTUN, m.Type)
	}
	var mapped stun.XORMappedAddress
	if err := mapped.GetFrom(m); err != nil {
		return netip.AddrPort{}, fmt.Errorf("%w: response without a mapped address", ErrNotSTUN)
	}
	if raw, _ := m.Get(stun.AttrXORMappedAddress); len(raw) != 4+len(mapped.IP) { // pion pads it
		return netip.AddrPort{}, fmt.Errorf("%w: mapped address of %d bytes", ErrNotSTUN, len(raw))
	}
	addr, _ := netip.AddrFromSlice(mapped.IP)
	return netip.AddrPortFrom(addr.Unmap(), uint16(mapped.Port)), nil
}
