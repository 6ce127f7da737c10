package proto

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// A control frame is a header of four bytes and its payload:
//
//	offset  size  field
//	0       1     protocol version (1)
//	1       1     message type
//	2       2     payload length, big endian, at most MaxPayload
//	4       …     payload: one CBOR map (RFC 8949)
const frameHeader = 4

// Errors that every decoder of this package wraps.
var (
	// ErrMalformed means that bytes from the wire do not have the form that
	// the specification demands.
	ErrMalformed = errors.New("malformed message")
	// ErrTooLarge means that a length exceeds its hard limit.
	ErrTooLarge = errors.New("message exceeds its size limit")
	// ErrVersion means that the other side speaks an unknown version.
	ErrVersion = errors.New("unknown protocol version")
)

// AppendFrame appends one frame to b. It fails with ErrTooLarge if the payload
// exceeds MaxPayload.
func AppendFrame(b []byte, t Type, payload []byte) ([]byte, error) {
	if len(payload) > MaxPayload {
		return b, fmt.Errorf("%w: %s of %d bytes", ErrTooLarge, t, len(payload))
	}
	b = append(b, Version, byte(t))
	b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	return append(b, payload...), nil
}

// ReadFrame reads one frame. The error is io.EOF if r ended before the first
// byte, io.ErrUnexpectedEOF if it ended inside the frame, or wraps ErrVersion
// or ErrTooLarge.
func ReadFrame(r io.Reader) (Type, []byte, error) {
	var h [frameHeader]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return 0, nil, err
	}
	if h[0] != Version {
		return 0, nil, fmt.Errorf("%w %d", ErrVersion, h[0])
	}
	n := binary.BigEndian.Uint16(h[2:])
	if n > MaxPayload {
		return 0, nil, fmt.Errorf("%w: %d bytes", ErrTooLarge, n)
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(r, payload); err != nil {
		return 0, nil, noEOF(err)
	}
	return Type(h[1]), payload, nil
}

// noEOF turns the EOF inside a message into io.ErrUnexpectedEOF.
func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
