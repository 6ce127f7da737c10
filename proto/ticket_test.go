package proto

import (
	"crypto/ed25519"
	"errors"
	"strings"
	"testing"
)

func TestTicketOfLongestHost(t *testing.T) {
	k := sampleTicket()
	k.Server.Host = strings.Repeat("x", 255)
	text := k.String()
	got, err := ParseTicket(strings.ToUpper(text))
	if err != nil || got != k || len(text) != MaxTicket {
		t.Errorf("%d bytes: %+v, %v; MaxTicket is %d", len(text), got, err, MaxTicket)
	}
}

// No error shows the secret.
func TestTicketErrorsKeepTheSecret(t *testing.T) {
	text := sampleTicket().String()
	for _, s := range []string{text[:99], text + "\n", "peerd2" + text[6:], "x" + text} {
		if _, err := ParseTicket(s); err == nil || strings.Contains(err.Error(), text[20:60]) {
			t.Errorf("%s: %v", s, err)
		}
	}
}

// Each part of a claim counts.
func TestClaim(t *testing.T) {
	good := sampleClaim()
	creator, oneTime, nonce := sampleID(2), sampleTicket().OneTimeID(), sampleToken(8)
	if !good.Proves(creator, oneTime, nonce) {
		t.Error("a good claim proves nothing")
	}
	stolen := *good
	stolen.ID = sampleID(3)
	forged := *good
	forged.Signature = make([]byte, ed25519.SignatureSize)
	for name, proves := range map[string]bool{
		"another ID":         stolen.Proves(creator, oneTime, nonce),
		"no signature":       forged.Proves(creator, oneTime, nonce),
		"another creator":    good.Proves(sampleID(1), oneTime, nonce),
		"another ticket":     good.Proves(creator, sampleID(1), nonce),
		"another exchange":   good.Proves(creator, oneTime, sampleToken(9)),
		"creator and ticket": good.Proves(oneTime, creator, nonce),
	} {
		if proves {
			t.Errorf("a claim with %s proves something", name)
		}
	}
}

func FuzzParseTicket(f *testing.F) {
	f.Add(sampleTicket().String())
	f.Add(strings.ToUpper(sampleTicket().String()))
	for _, c := range makeBadTickets() {
		f.Add(c.Text)
	}
	f.Fuzz(func(t *testing.T, s string) {
		k, err := ParseTicket(s)
		if err != nil {
			for _, e := range []error{ErrTicket, ErrTicketVersion, ErrTicketChecksum, ErrServerURL} {
				if errors.Is(err, e) {
					return
				}
			}
			t.Fatalf("undocumented error %v", err)
		}
		if again, err := ParseTicket(k.String()); err != nil || again != k || k.String() != strings.ToLower(s) {
			t.Errorf("%q became %q, then %+v, %v", s, k, again, err)
		}
	})
}

// FuzzTicketBody reaches behind the checksum.
func FuzzTicketBody(f *testing.F) {
	f.Add(make([]byte, ticketFixed), "host")
	f.Fuzz(func(t *testing.T, fixed []byte, host string) {
		body := append(fixed, host...)
		sum := ticketChecksum(body)
		text := ticketPrefix + idEncoding.EncodeToString(append(body, sum[:]...))
		if k, err := ParseTicket(text); err == nil && k.String() != text {
			t.Errorf("%q became %q", text, k)
		}
	})
}
