package proto

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// Attach is the record by which a session takes a secure connection into use.
// It is the first thing on the connection inside TLS. It has a fixed size:
//
//	offset  size  field
//	0       1     kind: 1 ATTACH, 2 ATTACHED, 3 REFUSED
//	1       1     version (1)
//	2       2     code, big endian: 0 except in REFUSED
//	4       16    session
//	20      8     epoch, big endian
//	28      8     bytes of the session that the sender has received, big endian
//	36      32    HMAC-SHA256(session key, "peerd attach" ‖ exporter ‖ bytes 0..35)
//
// In REFUSED the session key is empty, for who refuses may not know it; that
// the other end wrote the record is known from TLS.
//
// The exporter is 32 bytes of keying material of this very connection
// (RFC 8446, section 7.5) under the label ExporterLabel, so that a record is
// worth nothing on another connection.
type Attach struct {
	Kind     AttachKind
	Code     Code
	Session  Token  // not zero
	Epoch    uint64 // counts the connections of the session, from 1
	Received uint64
}

// AttachKind is the first byte of the record.
type AttachKind uint8

// The kinds of attach records.
const (
	// KindAttach is sent by the session's creator only.
	KindAttach AttachKind = 1
	// KindAttached confirms: from here on the session lives here.
	KindAttached AttachKind = 2
	// KindRefused says in Code why not; the connection then closes.
	KindRefused AttachKind = 3
)

// AttachSize is the size of the record in bytes.
const AttachSize = 68

// Labels for the TLS exporter.
const (
	// ExporterLabel yields what binds an attach record to its connection.
	ExporterLabel = "EXPORTER-peerd-attach"
	// SessionKeyLabel yields the key of a session from the connection on which
	// it is created, at epoch 1.
	SessionKeyLabel = "EXPORTER-peerd-session-key"
	// ExporterSize is the length of both in bytes.
	ExporterSize = 32
)

const (
	attachVersion = 1
	attachLabel   = "peerd attach"
	attachSigned  = 36
)

// Marshal returns the record, bound to the connection whose exporter is given.
// The session key is not used if the kind is KindRefused.
func (a Attach) Marshal(sessionKey, exporter []byte) (b [AttachSize]byte) {
	b[0], b[1] = byte(a.Kind), attachVersion
	binary.BigEndian.PutUint16(b[2:], uint16(a.Code))
	copy(b[4:], a.Session[:])
	binary.BigEndian.PutUint64(b[20:], a.Epoch)
	binary.BigEndian.PutUint64(b[28:], a.Received)
	copy(b[attachSigned:], attachMAC(b[:attachSigned], sessionKey, exporter))
	return b
}

func attachMAC(signed, sessionKey, exporter []byte) []byte {
	if AttachKind(signed[0]) == KindRefused {
		sessionKey = nil
	}
	h := hmac.New(sha256.New, sessionKey)
	h.Write([]byte(attachLabel))
	h.Write(exporter)
	h.Write(signed)
	return h.Sum(nil)
}

// ParseAttach decodes a record without judging its HMAC: the session key is
// found by the session that it names. The error wraps ErrMalformed or
// ErrVersion.
func ParseAttach(b [AttachSize]byte) (Attach, error) {
	if b[1] != attachVersion {
		return Attach{}, fmt.Errorf("%w %d of the attach record", ErrVersion, b[1])
	}
	a := Attach{
		Kind:     AttachKind(b[0]),
		Code:     Code(binary.BigEndian.Uint16(b[2:])),
		Session:  Token(b[4:20]),
		Epoch:    binary.BigEndian.Uint64(b[20:]),
		Received: binary.BigEndian.Uint64(b[28:]),
	}
	if a.Kind < KindAttach || a.Kind > KindRefused || (a.Code != CodeOK) != (a.Kind == KindRefused) {
		return Attach{}, fmt.Errorf("%w: attach record of kind %d, code %d", ErrMalformed, a.Kind, a.Code)
	}
	if a.Session.IsZero() || a.Epoch == 0 {
		return Attach{}, fmt.Errorf("%w: attach record without session or epoch", ErrMalformed)
	}
	return a, nil
}

// VerifyAttach reports whether the record was made under the session key for
// the connection whose exporter is given. The session key is not used if the
// record is REFUSED.
func VerifyAttach(b [AttachSize]byte, sessionKey, exporter []byte) bool {
	return hmac.Equal(b[attachSigned:], attachMAC(b[:attachSigned], sessionKey, exporter))
}
