package tunnel

import (
	"bytes"
	"errors"
	"io"
	"testing"
)

// scripted reads pieces of the sizes that it is told, and then fails or ends.
type scripted struct {
	pieces []int
	err    error
	next   byte
	sizes  []int // of the buffers that it was given
	want   []byte
}

func (s *scripted) Read(b []byte) (int, error) {
	s.sizes = append(s.sizes, len(b))
	if len(s.pieces) == 0 {
		return 0, s.err
	}
	n := min(s.pieces[0], len(b))
	if s.pieces[0] -= n; s.pieces[0] == 0 {
		s.pieces = s.pieces[1:]
	}
	for i := range b[:n] {
		s.next++
		b[i] = s.next
	}
	s.want = append(s.want, b[:n]...)
	return n, nil
}

// TestCopyBuffers: a source with little to say is waited for with a small
// buffer, before and after one with much to say gets a large one.
func TestCopyBuffers(t *testing.T) {
	src := &scripted{pieces: []int{1, 500, 3 * largeBuffer, 20, 7}, err: io.EOF}
	var dst bytes.Buffer
	if err := Copy(&dst, src); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(dst.Bytes(), src.want) {
		t.Error("the copy differs")
	}
	want := []int{smallBuffer, smallBuffer, smallBuffer, largeBuffer, largeBuffer, largeBuffer, largeBuffer, smallBuffer, smallBuffer}
	if len(src.sizes) != len(want) {
		t.Fatalf("buffers of %v instead of %v", src.sizes, want)
	}
	for i := range want {
		if src.sizes[i] != want[i] {
			t.Fatalf("buffers of %v instead of %v", src.sizes, want)
		}
	}
}

type failing struct {
	n   int
	err error
}

func (f failing) Write(b []byte) (int, error) { return min(f.n, len(b)), f.err }

func TestCopyErrors(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name   string
		pieces []int
		src    error
		dst    io.Writer
		want   error
	}{
		{"the source fails", []int{5}, broken, io.Discard, broken},
		{"the source fails in bulk", []int{largeBuffer}, broken, io.Discard, broken},
		{"the destination fails", []int{5}, io.EOF, failing{0, broken}, broken},
		{"the destination's error is io.EOF", []int{5}, io.EOF, failing{0, io.EOF}, io.EOF},
		{"a short write", []int{5}, io.EOF, failing{3, nil}, io.ErrShortWrite},
		{"nothing", nil, io.EOF, failing{0, broken}, nil},
	} {
		if err := Copy(c.dst, &scripted{pieces: c.pieces, err: c.src}); err != c.want {
			t.Errorf("%s: %v instead of %v", c.name, err, c.want)
		}
	}
}
