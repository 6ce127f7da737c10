package proto

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestTokenEncodings(t *testing.T) {
	want := NewToken()
	if want.IsZero() || !(Token{}).IsZero() || want == NewToken() {
		t.Error("NewToken is not random, or IsZero is wrong")
	}
	text, _ := want.MarshalText()
	var got Token
	if err := got.UnmarshalText(text); err != nil || got != want || string(text) != want.String() {
		t.Errorf("%s: %v", text, err)
	}
	for _, s := range []string{"", "0g", want.String()[2:], want.String() + "00"} {
		if err := got.UnmarshalText([]byte(s)); !errors.Is(err, ErrMalformed) || got != want {
			t.Errorf("%q: %v", s, err)
		}
	}
	if err := got.UnmarshalBinary(make([]byte, 17)); !errors.Is(err, ErrMalformed) || got != want {
		t.Errorf("17 bytes: %v", err)
	}
}

// A log must not hold the key that admits to an introduction.
func TestSecretIsNotPrinted(t *testing.T) {
	s := sampleSecret(0xab)
	m := &Introduction{Secret: s}
	asJSON, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	timeless := &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{} // which has any digits
		}
		return a
	}}
	slog.New(slog.NewJSONHandler(&log, timeless)).Info("", "secret", s, "message", m)
	slog.New(slog.NewTextHandler(&log, timeless)).Info("", "secret", s, "message", m)
	printed := fmt.Sprintf("%v %+v %#v %s %x %q %s %v %+v %#v", s, s, s, s, s, s, asJSON, log.String(), m, m)
	for _, leak := range []string{"abab", "ABAB", "171", "0xab"} {
		if strings.Contains(printed, leak) {
			t.Errorf("%q in %s", leak, printed)
		}
	}
}

func TestSecretEncodings(t *testing.T) {
	want := NewSecret()
	if want.IsZero() || !(Secret{}).IsZero() {
		t.Error("NewSecret is not random, or IsZero is wrong")
	}
	b, _ := want.MarshalBinary()
	var got Secret
	if err := got.UnmarshalBinary(b); err != nil || got != want {
		t.Error(err)
	}
	if err := got.UnmarshalBinary(b[1:]); !errors.Is(err, ErrMalformed) {
		t.Errorf("31 bytes: %v", err)
	}
}
