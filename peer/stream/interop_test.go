package stream

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/hashicorp/yamux"

	"github.com/peerd/peerd/proto"
)

// The other end may be any yamux that keeps to the specification, with windows
// that begin with 256 KiB.
func TestOtherYamux(t *testing.T) {
	near, far := net.Pipe()
	m := Server(near, 0)
	defer m.Close()
	other, err := yamux.Client(far, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	ys, err := other.OpenStream()
	if err != nil {
		t.Fatal(err)
	}
	want := bytes.Repeat([]byte("twelve bytes"), 100_000)
	sent := make(chan error, 1)
	go func() {
		err := proto.Write(ys, &proto.Open{Target: "any"})
		for b := want; len(b) > 0 && err == nil; {
			n := min(len(b), proto.MaxChunk)
			_, err = ys.Write(append(appendLength(nil, n), b[:n]...))
			b = b[n:]
		}
		if err == nil {
			_, err = ys.Write(appendLength(nil, 0))
		}
		sent <- err
	}()
	s, err := m.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Confirm(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(s)
	if err != nil || !bytes.Equal(got, want) {
		t.Fatalf("read %d bytes, %v", len(got), err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := s.Write(want)
		sent <- errors.Join(err, s.CloseWrite())
	}()
	if msg, err := proto.Read(ys); err != nil || msg.Type() != proto.TypeOpened {
		t.Fatalf("%v, %v, want Opened", msg, err)
	}
	if got := readChunks(t, ys); !bytes.Equal(got, want) {
		t.Errorf("the other end read %d bytes", len(got))
	}
	if err := <-sent; err != nil {
		t.Error(err)
	}
}

// readChunks reads to END.
func readChunks(t *testing.T, r io.Reader) (data []byte) {
	t.Helper()
	for {
		var header [proto.ChunkHeader]byte
		if _, err := io.ReadFull(r, header[:]); err != nil {
			t.Fatal(err)
		}
		n := int(header[0])<<24 | int(header[1])<<16 | int(header[2])<<8 | int(header[3])
		if n == 0 {
			return data
		}
		chunk := make([]byte, n)
		if _, err := io.ReadFull(r, chunk); err != nil {
			t.Fatal(err)
		}
		data = append(data, chunk...)
	}
}
