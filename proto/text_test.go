package proto

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestCleanText(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"plain text", "plain text"},
		{"über ✓ 世界", "über ✓ 世界"},
		{"two\nlines", "two lines"},
		{"\x1b[31mred", " [31mred"},
		{"a\u202eb", "a b"},
		{"\xff", "\ufffd"},
		{strings.Repeat("x", MaxText+1), strings.Repeat("x", MaxText)},
		{strings.Repeat("x", MaxText-1) + "é", strings.Repeat("x", MaxText-1)},
		{strings.Repeat("\xff", MaxText), strings.Repeat("\ufffd", MaxText/3)},
	} {
		got := cleanText(c.in, MaxText)
		if got != c.want || !utf8.ValidString(got) {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
		if err := checkText(got, MaxText); err != nil {
			t.Errorf("%q, cleaned: %v", c.in, err)
		}
	}
}

// A reason is worth more shortened than not at all.
func TestAppendCleansTextForPeople(t *testing.T) {
	dirty := "line\nline" + strings.Repeat("x", MaxText)
	for _, m := range []Message{
		&Register{Instance: sampleToken(1), PlanVersion: 1, Agent: dirty},
		&Failure{Code: CodeBusy, Text: dirty},
		&Opened{Code: CodeDialFailed, Text: dirty},
		&Listening{Code: CodeDialFailed, Text: dirty},
		&Pairing{Nonce: sampleToken(8), Name: dirty},
		&Claim{ID: sampleID(1), Name: dirty, Signature: make([]byte, 64)},
		&Paired{Code: CodeRefused, Text: dirty},
	} {
		b, err := Append(nil, m)
		if err != nil {
			t.Errorf("%s: %v", m.Type(), err)
			continue
		}
		if _, err := Read(bytes.NewReader(b)); err != nil {
			t.Errorf("%s: %v", m.Type(), err)
		}
		if err := m.Check(); !errors.Is(err, ErrTooLarge) {
			t.Errorf("%s: the caller's message was changed: %v", m.Type(), err)
		}
	}
}
