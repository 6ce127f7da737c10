package proto

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Ticket lets one other peer, whoever has it, get to know its creator: it says
// where to find the creator, and as whom to come.
//
// The text form is "peerd1" and lower-case base32 (the alphabet of ID, no
// padding) over
//
//	offset  size  field
//	0       32    key of the server
//	32      32    ID of the creator
//	64      16    seed
//	80      2     port of the server, big endian, not 0
//	82      n     host of the server, as in its URL but without brackets
//	82 + n  4     first four bytes of SHA-256("peerd1" ‖ bytes 0..81+n)
//
// Upper case is accepted, too: a QR code of it is smaller.
type Ticket struct {
	Server  ServerURL
	Creator ID
	// Seed is secret until the ticket is used: the one-time identity of the peer
	// that comes with the ticket derives from it.
	Seed [16]byte
}

const (
	ticketFamily  = "peerd" // all versions
	ticketPrefix  = ticketFamily + "1"
	ticketFixed   = 32 + 32 + 16 + 2
	ticketSum     = 4
	ticketKeyInfo = "peerd one-time identity"
)

// MaxTicket bounds the text form of a ticket, in bytes.
const MaxTicket = len(ticketPrefix) + ((ticketFixed+255+ticketSum)*8+4)/5

// Errors of ParseTicket.
var (
	ErrTicket         = errors.New("not a ticket: one is " + ticketPrefix + " and many characters a-z and 2-7")
	ErrTicketVersion  = errors.New("the ticket is of a version that this program does not know")
	ErrTicketChecksum = errors.New("the ticket is mistyped or cut off: its checksum does not match")
)

// ParseTicket parses the text form. The error is, or wraps, ErrTicket,
// ErrTicketVersion, ErrTicketChecksum or ErrServerURL. It does not repeat the text,
// which is a secret.
func ParseTicket(s string) (Ticket, error) {
	s = strings.ToLower(s)
	text, ok := strings.CutPrefix(s, ticketPrefix)
	if !ok {
		rest, ok := strings.CutPrefix(s, ticketFamily)
		if ok && rest != "" && rest[0] >= '0' && rest[0] <= '9' {
			return Ticket{}, ErrTicketVersion
		}
		return Ticket{}, ErrTicket
	}
	if strings.Trim(text, idAlphabet) != "" {
		return Ticket{}, ErrTicket
	}
	raw, err := idEncoding.DecodeString(text)
	// The decoder ignores the last character's spare bits.
	if err != nil || idEncoding.EncodeToString(raw) != text {
		return Ticket{}, ErrTicketChecksum
	}
	body := raw[:max(0, len(raw)-ticketSum)]
	if len(body) < ticketFixed || [ticketSum]byte(raw[len(body):]) != ticketChecksum(body) {
		return Ticket{}, ErrTicketChecksum
	}
	return ticketFrom(body)
}

func ticketFrom(body []byte) (Ticket, error) {
	t := Ticket{
		Server:  ServerURL{Host: string(body[ticketFixed:]), Port: binary.BigEndian.Uint16(body[80:]), Key: ID(body[:32])},
		Creator: ID(body[32:64]),
		Seed:    [16]byte(body[64:80]),
	}
	if t.Creator.IsZero() {
		return Ticket{}, fmt.Errorf("%w (without a creator)", ErrTicket)
	}
	if again, err := ParseServerURL(t.Server.String()); err != nil || again != t.Server {
		return Ticket{}, fmt.Errorf("%w: that of the ticket is none", ErrServerURL)
	}
	return t, nil
}

func ticketChecksum(body []byte) [ticketSum]byte {
	sum := sha256.Sum256(append([]byte(ticketPrefix), body...))
	return [ticketSum]byte(sum[:])
}

// String returns the text form, which is a secret.
func (t Ticket) String() string {
	raw := append([]byte(nil), t.Server.Key[:]...)
	raw = append(raw, t.Creator[:]...)
	raw = append(raw, t.Seed[:]...)
	raw = binary.BigEndian.AppendUint16(raw, t.Server.Port)
	raw = append(raw, t.Server.Host...)
	sum := ticketChecksum(raw)
	return ticketPrefix + idEncoding.EncodeToString(append(raw, sum[:]...))
}

// KeySeed returns the seed (RFC 8032, section 5.1.5) of the Ed25519 key of the
// one-time identity: HKDF-SHA-256 (RFC 5869) of Seed, without salt, for
// "peerd one-time identity".
func (t Ticket) KeySeed() []byte {
	seed, err := hkdf.Key(sha256.New, t.Seed[:], nil, ticketKeyInfo, ed25519.SeedSize)
	if err != nil {
		panic(err) // fails for lengths beyond 255 hashes only
	}
	return seed
}

// OneTimeID returns the ID of the one-time identity.
func (t Ticket) OneTimeID() ID {
	return IDOf(ed25519.NewKeyFromSeed(t.KeySeed()).Public().(ed25519.PublicKey))
}
