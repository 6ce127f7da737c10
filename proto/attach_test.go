package proto

import (
	"errors"
	"testing"
)

func sampleAttach() Attach {
	return Attach{Kind: KindAttach, Session: sampleToken(5), Epoch: 1, Received: 1 << 40}
}

func TestAttachRoundTrip(t *testing.T) {
	key, exporter := make([]byte, ExporterSize), make([]byte, ExporterSize)
	fill(key, 6)
	attached, refused := sampleAttach(), sampleAttach()
	attached.Kind, attached.Epoch, attached.Received = KindAttached, ^uint64(0), ^uint64(0)
	refused.Kind, refused.Code = KindRefused, CodeNotAuthorised
	for _, want := range []Attach{sampleAttach(), attached, refused} {
		b := want.Marshal(key, exporter)
		if got, err := ParseAttach(b); err != nil || got != want {
			t.Errorf("%+v became %+v, %v", want, got, err)
		}
		if !VerifyAttach(b, key, exporter) {
			t.Errorf("%+v is not verified", want)
		}
		if other := [ExporterSize]byte{1}; VerifyAttach(b, key, other[:]) {
			t.Errorf("%+v is verified on another connection", want)
		}
	}
}

// One bit anywhere is noticed by ParseAttach or by VerifyAttach.
func TestAttachOneBitWrong(t *testing.T) {
	key, exporter := make([]byte, ExporterSize), make([]byte, ExporterSize)
	good := sampleAttach().Marshal(key, exporter)
	for i := range good {
		bad := good
		bad[i] ^= 1
		if VerifyAttach(bad, key, exporter) {
			t.Errorf("byte %d was not noticed", i)
		}
	}
}

func TestAttachUnderAnotherKey(t *testing.T) {
	key, other, exporter := make([]byte, ExporterSize), []byte("another key"), make([]byte, ExporterSize)
	b := sampleAttach().Marshal(key, exporter)
	if VerifyAttach(b, other, exporter) {
		t.Error("ATTACH was verified under another key")
	}
}

// Who refuses a session that it does not know has no key for it.
func TestRefusalNeedsNoKey(t *testing.T) {
	a := sampleAttach()
	a.Kind, a.Code = KindRefused, CodeNoSession
	exporter := make([]byte, ExporterSize)
	b := a.Marshal(nil, exporter)
	if !VerifyAttach(b, []byte("the key of the session"), exporter) {
		t.Error("not verified")
	}
	forged := b
	forged[0], forged[2], forged[3] = byte(KindAttached), 0, 0
	if VerifyAttach(forged, []byte("the key of the session"), exporter) {
		t.Error("a refusal became a confirmation")
	}
}

func TestParseAttachErrors(t *testing.T) {
	good := sampleAttach().Marshal(nil, nil)
	for name, c := range map[string]struct {
		spoil func(b *[AttachSize]byte)
		want  error
	}{
		"kind 0":               {func(b *[AttachSize]byte) { b[0] = 0 }, ErrMalformed},
		"kind 4":               {func(b *[AttachSize]byte) { b[0] = 4 }, ErrMalformed},
		"version 0":            {func(b *[AttachSize]byte) { b[1] = 0 }, ErrVersion},
		"version 2":            {func(b *[AttachSize]byte) { b[1] = 2 }, ErrVersion},
		"ATTACH with code":     {func(b *[AttachSize]byte) { b[3] = 1 }, ErrMalformed},
		"REFUSED, no code":     {func(b *[AttachSize]byte) { b[0] = 3 }, ErrMalformed},
		"ATTACHED with code":   {func(b *[AttachSize]byte) { b[0], b[2] = 2, 1 }, ErrMalformed},
		"the zero session":     {func(b *[AttachSize]byte) { clear(b[4:20]) }, ErrMalformed},
		"epoch 0":              {func(b *[AttachSize]byte) { clear(b[20:28]) }, ErrMalformed},
		"nothing but zeroes":   {func(b *[AttachSize]byte) { clear(b[:]) }, ErrVersion},
		"the HMAC, not judged": {func(b *[AttachSize]byte) { clear(b[36:]) }, nil},
	} {
		bad := good
		c.spoil(&bad)
		if _, err := ParseAttach(bad); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}

func FuzzParseAttach(f *testing.F) {
	b := sampleAttach().Marshal(nil, nil)
	f.Add(b[:])
	refused := Attach{Kind: KindRefused, Code: CodeEnded, Session: sampleToken(1), Epoch: 1}.Marshal(nil, nil)
	f.Add(refused[:])
	f.Fuzz(func(t *testing.T, in []byte) {
		var b [AttachSize]byte
		copy(b[:], in)
		a, err := ParseAttach(b)
		if err != nil {
			known(t, err)
			return
		}
		out := a.Marshal(nil, nil)
		if string(out[:attachSigned]) != string(b[:attachSigned]) {
			t.Fatalf("%x became %x", b, out)
		}
		if again, err := ParseAttach(out); err != nil || again != a {
			t.Errorf("%+v became %+v, %v", a, again, err)
		}
		if VerifyAttach(b, nil, nil) != (out == b) {
			t.Errorf("%x: verified %v", b, VerifyAttach(b, nil, nil))
		}
	})
}
