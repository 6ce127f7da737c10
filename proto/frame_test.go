package proto

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

func TestFrameRoundTrip(t *testing.T) {
	for _, n := range []int{0, 1, MaxPayload} {
		b, err := AppendFrame([]byte("before"), TypePing, make([]byte, n))
		if err != nil {
			t.Fatal(err)
		}
		r := iotest.OneByteReader(bytes.NewReader(b[len("before"):]))
		typ, payload, err := ReadFrame(r)
		if err != nil || typ != TypePing || len(payload) != n {
			t.Errorf("%d bytes: %v, %d bytes, %v", n, typ, len(payload), err)
		}
		if _, _, err := ReadFrame(r); err != io.EOF {
			t.Errorf("end: %v", err)
		}
	}
}

func TestAppendFrameTooLarge(t *testing.T) {
	b, err := AppendFrame([]byte("before"), TypePing, make([]byte, MaxPayload+1))
	if !errors.Is(err, ErrTooLarge) || string(b) != "before" {
		t.Errorf("%q, %v", b, err)
	}
}

func TestReadFrameErrors(t *testing.T) {
	for _, c := range []struct {
		in   []byte
		want error
	}{
		{nil, io.EOF},
		{[]byte{1}, io.ErrUnexpectedEOF},
		{[]byte{1, 8, 0}, io.ErrUnexpectedEOF},
		{[]byte{1, 8, 0, 1}, io.ErrUnexpectedEOF},
		{[]byte{1, 8, 0, 2, 0}, io.ErrUnexpectedEOF},
		{[]byte{0, 8, 0, 0}, ErrVersion},
		{[]byte{2, 8, 0xff, 0xff}, ErrVersion},
		{[]byte{1, 8, 0x40, 0x01}, ErrTooLarge},
		{[]byte{1, 8, 0xff, 0xff}, ErrTooLarge},
		{[]byte{1, 0x80, 0xff, 0xff}, ErrTooLarge}, // ignorable, but not to be read
	} {
		if _, payload, err := ReadFrame(bytes.NewReader(c.in)); !errors.Is(err, c.want) || payload != nil {
			t.Errorf("%x: %v, want %v", c.in, err, c.want)
		}
	}
}

// What the peer has not sent must not cost memory: a refused length allocates
// nothing but the error.
func TestReadFrameRefusesBeforeItAllocates(t *testing.T) {
	r := bytes.NewReader([]byte{1, 8, 0xff, 0xff})
	per := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			r.Seek(0, io.SeekStart)
			ReadFrame(r)
		}
	}).AllocedBytesPerOp()
	if per > 1024 {
		t.Errorf("%d bytes allocated", per)
	}
}

func TestReadFramePassesErrorsOn(t *testing.T) {
	broken := errors.New("broken")
	for n := range 5 {
		r := io.MultiReader(bytes.NewReader([]byte{1, 8, 0, 9, 0}[:n]), iotest.ErrReader(broken))
		if _, _, err := ReadFrame(r); err != broken {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
}
