package proto

import (
	"errors"
	"testing"
)

func TestPreamble(t *testing.T) {
	introduction, secret := NewToken(), NewSecret()
	for _, r := range []Role{Initiator, Responder} {
		p := NewPreamble(r, introduction, secret)
		if got, err := p.Introduction(); err != nil || got != introduction {
			t.Errorf("%v: %v, %v", r, got, err)
		}
		if err := p.Verify(r, introduction, secret); err != nil {
			t.Errorf("%v: %v", r, err)
		}
		if err := p.Verify(r.Peer(), introduction, secret); err != ErrEcho {
			t.Errorf("%v reads its own: %v", r, err)
		}
		if err := p.Verify(r, NewToken(), secret); err != ErrProof {
			t.Errorf("%v of another introduction: %v", r, err)
		}
		if err := p.Verify(r, introduction, NewSecret()); err != ErrProof {
			t.Errorf("%v under another secret: %v", r, err)
		}
		if again := NewPreamble(r, introduction, secret); again == p {
			t.Error("two preambles are the same")
		}
	}
}

// Every byte is checked: by its value or by the HMAC.
func TestPreambleOneBitWrong(t *testing.T) {
	introduction, secret := sampleToken(1), sampleSecret(2)
	good := NewPreamble(Initiator, introduction, secret)
	for i := range good {
		want := ErrProof
		switch {
		case i < 4 || i >= 5 && i < 8:
			want = ErrMalformed
		case i == 4:
			want = ErrVersion
		}
		bad := good
		bad[i] ^= 0x40
		if err := bad.Verify(Initiator, introduction, secret); !errors.Is(err, want) {
			t.Errorf("byte %d: %v, want %v", i, err, want)
		}
	}
}

// An echo is told from a forgery: who changes the role only proves nothing.
func TestPreambleForgedRole(t *testing.T) {
	introduction, secret := sampleToken(1), sampleSecret(2)
	p := NewPreamble(Initiator, introduction, secret)
	p[5] = byte(Responder)
	if err := p.Verify(Responder, introduction, secret); err != ErrProof {
		t.Error(err)
	}
}

func TestZeroPreamble(t *testing.T) {
	var p Preamble
	if _, err := p.Introduction(); !errors.Is(err, ErrMalformed) {
		t.Error(err)
	}
}

func FuzzPreamble(f *testing.F) {
	introduction, secret := sampleToken(1), sampleSecret(2)
	for _, r := range []Role{Initiator, Responder} {
		p := newPreamble(r, introduction, secret, [16]byte{})
		f.Add(p[:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var p Preamble
		copy(p[:], b)
		claimed, err := p.Introduction()
		if err != nil {
			known(t, err)
		}
		if p.Verify(Initiator, introduction, secret) != nil {
			return
		}
		again := newPreamble(Initiator, claimed, secret, [16]byte(p[24:]))
		if claimed != introduction || again != p {
			t.Errorf("%x was accepted", p)
		}
	})
}
