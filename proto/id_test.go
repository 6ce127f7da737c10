package proto

import (
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestIDText(t *testing.T) {
	for _, id := range []ID{{}, sampleID(1), sampleID(2), {31: 255}} {
		s := id.String()
		if len(s) != 56 || s[0] != 'p' {
			t.Errorf("text is %q", s)
		}
		if got, err := ParseID(s); err != nil || got != id {
			t.Errorf("ParseID(%q): %v", s, err)
		}
		if id.Short() != s[:10] {
			t.Errorf("Short is %q", id.Short())
		}
	}
}

func TestParseIDErrors(t *testing.T) {
	good := sampleID(1).String()
	cases := []struct {
		text string
		want error
	}{
		{"", ErrIDLength},
		{good[:55], ErrIDLength},
		{good + "a", ErrIDLength},
		{good + "\n", ErrIDLength},
		{strings.ToUpper(good), ErrIDAlphabet},
		{"1" + good[1:], ErrIDAlphabet},
		{good[:55] + "=", ErrIDAlphabet},
		{good[:55] + "\n", ErrIDAlphabet},
		{good[:48] + "\r\n\r\n\r\n\r\n", ErrIDAlphabet},
		{good[:54] + "é", ErrIDAlphabet},
		{withPrefix(idPrefix+1, sampleID(1)), ErrIDVersion},
		{withPrefix(0, sampleID(1)), ErrIDVersion},
		{"q" + good[1:], ErrIDChecksum},
		{good[:55] + other(good[55]), ErrIDChecksum},
	}
	for _, c := range cases {
		if id, err := ParseID(c.text); !errors.Is(err, c.want) || !id.IsZero() {
			t.Errorf("ParseID(%q): %v, want %v", c.text, err, c.want)
		}
	}
}

// withPrefix is the text of an ID of another version.
func withPrefix(prefix byte, id ID) string {
	sum := idChecksum(prefix, id)
	return idEncoding.EncodeToString(append(append([]byte{prefix}, id[:]...), sum[:]...))
}

func other(c byte) string {
	if c == 'a' {
		return "b"
	}
	return "a"
}

// typos yields what a person makes of an ID: every wrong character at every
// place, every swap of neighbours and every character written twice with
// another one left out.
func typos(s string, yield func(string)) {
	for i := range s {
		for j := range idAlphabet {
			yield(s[:i] + idAlphabet[j:j+1] + s[i+1:])
		}
		if i > 0 {
			yield(s[:i-1] + s[i:i+1] + s[i-1:i] + s[i+1:])
			yield(s[:i-1] + s[i:i+1] + s[i:])
		}
	}
}

// 16 bits of checksum let one typo in 65536 pass. More would mean that the
// checksum does not depend on all characters.
func TestChecksumDetectsTypos(t *testing.T) {
	tried, passed := 0, 0
	for n := range byte(40) {
		good := sampleID(n).String()
		typos(good, func(s string) {
			if s == good {
				return
			}
			tried++
			if _, err := ParseID(s); err == nil {
				passed++
			}
		})
	}
	if passed > 10 {
		t.Errorf("%d of %d typos passed", passed, tried)
	}
}

func TestIDOfWrongSize(t *testing.T) {
	for _, n := range []int{0, 31, 33, 64} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("a key of %d bytes was taken", n)
				}
			}()
			IDOf(make(ed25519.PublicKey, n))
		}()
	}
}

func TestIDEncodings(t *testing.T) {
	id := sampleID(1)
	text, _ := json.Marshal(map[ID]ID{id: id})
	var fromText map[ID]ID
	if err := json.Unmarshal(text, &fromText); err != nil || fromText[id] != id {
		t.Errorf("%s: %v", text, err)
	}
	b, _ := id.MarshalBinary()
	var fromBinary ID
	if err := fromBinary.UnmarshalBinary(b); err != nil || fromBinary != id {
		t.Errorf("%x: %v", b, err)
	}
	if err := fromBinary.UnmarshalBinary(b[:31]); !errors.Is(err, ErrMalformed) || fromBinary != id {
		t.Errorf("31 bytes: %v", err)
	}
	if err := fromBinary.UnmarshalText([]byte("hello")); !errors.Is(err, ErrIDLength) || fromBinary != id {
		t.Errorf("hello: %v", err)
	}
	if string(id.PublicKey()) != string(b) {
		t.Error("PublicKey differs")
	}
}

func FuzzParseID(f *testing.F) {
	f.Add(sampleID(1).String())
	f.Add(withPrefix(0, ID{}))
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseID(s)
		if err == nil && id.String() != s {
			t.Errorf("%q is a second form of %q", s, id)
		}
	})
}
