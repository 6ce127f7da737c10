package tunnel

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

// SOCKS is a SOCKS server (RFC 1928) as far as a dynamic forward needs one:
// version 5, CONNECT, no authentication. Names are not looked up here, and the
// reply to a request is what the far end has answered.
type SOCKS struct {
	// Dial connects to HOST:PORT and returns once that is there.
	Dial func(ctx context.Context, target string) (End, error)
	// Reply is what an error of Dial means to the client.
	Reply func(error) SOCKSReply
}

// SOCKSReply is the reply to a request (RFC 1928, section 6).
type SOCKSReply byte

// The replies.
const (
	SOCKSSucceeded         SOCKSReply = 0
	SOCKSFailed            SOCKSReply = 1
	SOCKSNotAllowed        SOCKSReply = 2
	SOCKSHostUnreachable   SOCKSReply = 4
	SOCKSRefused           SOCKSReply = 5
	socksNoSuchCommand     SOCKSReply = 7
	socksNoSuchAddressType SOCKSReply = 8
)

// socksLimit bounds the time that a client takes to say what it wants.
const socksLimit = 10 * time.Second

// Serve serves one client. It closes the connection, and returns soon after ctx
// has ended. The error is why the client did not get what it wanted, or what
// ended the tunnel.
func (s SOCKS) Serve(ctx context.Context, conn net.Conn) error {
	client := NewSocket(conn)
	stop := context.AfterFunc(ctx, client.Abort)
	defer stop()
	target, err := s.request(conn)
	if err != nil {
		client.Close()
		return err
	}
	far, err := s.Dial(ctx, target)
	if err != nil {
		conn.Write(reply(s.Reply(err)))
		client.Close()
		return fmt.Errorf("%s: %w", target, err)
	}
	stopFar := context.AfterFunc(ctx, far.Abort)
	defer stopFar()
	if _, err := conn.Write(reply(SOCKSSucceeded)); err != nil {
		far.Abort()
		client.Abort()
		return err
	}
	return Join(client, far)
}

// request reads what a client wants, which it is told if that cannot be.
func (s SOCKS) request(conn net.Conn) (target string, err error) {
	conn.SetDeadline(time.Now().Add(socksLimit))
	if err := greet(conn); err != nil {
		return "", err
	}
	target, err = readRequest(conn)
	var refused *socksError
	if errors.As(err, &refused) {
		conn.Write(reply(refused.reply))
	}
	conn.SetDeadline(time.Time{})
	return target, err
}

// socksError says why a request cannot be met.
type socksError struct {
	reply SOCKSReply
	text  string
}

// Error implements error.
func (e *socksError) Error() string { return "SOCKS: " + e.text }

// Values of RFC 1928.
const (
	socksVersion  = 5
	noMethods     = 0xff
	noAuth        = 0
	socksConnect  = 1
	addressIPv4   = 1
	addressDomain = 3
	addressIPv6   = 4
)

// greet reads a client's greeting and answers it. Nothing behind it is read.
//
//	| version 5 | n | n methods |   answer: | version 5 | method |
func greet(conn io.ReadWriter) error {
	var head [2]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return fmt.Errorf("SOCKS: no greeting: %w", err)
	}
	if head[0] != socksVersion {
		return fmt.Errorf("SOCKS: the client speaks version %d, not 5", head[0])
	}
	methods := make([]byte, head[1])
	if _, err := io.ReadFull(conn, methods); err != nil {
		return fmt.Errorf("SOCKS: no greeting: %w", err)
	}
	if !bytes.Contains(methods, []byte{noAuth}) {
		conn.Write([]byte{socksVersion, noMethods})
		return errors.New("SOCKS: the client wants to authenticate itself, which has no use here")
	}
	_, err := conn.Write([]byte{socksVersion, noAuth})
	return err
}

// readRequest reads a request and returns the target as HOST:PORT. Nothing
// behind it is read. The error is a *socksError if the client can be told.
//
//	| version 5 | command | 0 | address type | address | port, 2 bytes |
func readRequest(r io.Reader) (target string, err error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return "", fmt.Errorf("SOCKS: no request: %w", err)
	}
	if head[0] != socksVersion || head[2] != 0 {
		return "", &socksError{SOCKSFailed, "not a request"}
	}
	host, err := readAddress(r, head[3])
	if err != nil {
		return "", err
	}
	var port [2]byte
	if _, err := io.ReadFull(r, port[:]); err != nil {
		return "", fmt.Errorf("SOCKS: no request: %w", err)
	}
	target = joinHostPort(host, binary.BigEndian.Uint16(port[:]))
	switch {
	case head[1] != socksConnect:
		return "", &socksError{socksNoSuchCommand, fmt.Sprintf("command %d; there is only CONNECT", head[1])}
	case port == [2]byte{}, len(target) > maxTarget, checkHost(host) != nil:
		return "", &socksError{SOCKSFailed, fmt.Sprintf("there can be no %q", target)}
	}
	return target, nil
}

// readAddress reads an address: 4 bytes, 16 bytes, or a length and a name.
func readAddress(r io.Reader, kind byte) (string, error) {
	size := make([]byte, 1)
	switch kind {
	case addressIPv4:
		size[0] = 4
	case addressIPv6:
		size[0] = 16
	case addressDomain:
		if _, err := io.ReadFull(r, size); err != nil {
			return "", fmt.Errorf("SOCKS: no request: %w", err)
		}
	default:
		return "", &socksError{socksNoSuchAddressType, fmt.Sprintf("address type %d", kind)}
	}
	raw := make([]byte, size[0])
	if _, err := io.ReadFull(r, raw); err != nil {
		return "", fmt.Errorf("SOCKS: no request: %w", err)
	}
	if kind == addressDomain {
		return string(raw), nil
	}
	addr, _ := netip.AddrFromSlice(raw)
	return addr.String(), nil
}

// reply is the answer to a request. The address in it, which would be that of
// the far end's socket, is left empty.
func reply(r SOCKSReply) []byte {
	return []byte{socksVersion, byte(r), 0, addressIPv4, 0, 0, 0, 0, 0, 0}
}
