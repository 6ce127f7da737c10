package tunnel

import (
	"errors"
	"io"
	"sync"
)

// A connection that says little holds a small buffer only: the large ones of
// 200 of them would be 100 MiB.
const (
	smallBuffer = 16 << 10
	largeBuffer = 256 << 10
)

var (
	smallBuffers = sync.Pool{New: func() any { return new([smallBuffer]byte) }}
	largeBuffers = sync.Pool{New: func() any { return new([largeBuffer]byte) }}
)

// Copy copies until src ends. It hides both sides' own ways of copying, which
// use buffers of one size.
func Copy(dst io.Writer, src io.Reader) (err error) {
	small := smallBuffers.Get().(*[smallBuffer]byte)
	defer smallBuffers.Put(small)
	for err == nil {
		var n int
		if n, err = copyOnce(dst, src, small[:]); n == smallBuffer && err == nil {
			err = copyBulk(dst, src)
		}
	}
	if err == errEnd {
		return nil
	}
	return err
}

// copyBulk copies as long as there is much to read.
func copyBulk(dst io.Writer, src io.Reader) (err error) {
	large := largeBuffers.Get().(*[largeBuffer]byte)
	defer largeBuffers.Put(large)
	for n := smallBuffer; n >= smallBuffer && err == nil; {
		n, err = copyOnce(dst, src, large[:])
	}
	return err
}

// errEnd is src's end: io.EOF from dst is a failure.
var errEnd = errors.New("end")

// copyOnce reads once and writes what it has read.
func copyOnce(dst io.Writer, src io.Reader, buf []byte) (n int, err error) {
	n, err = src.Read(buf)
	if n > 0 {
		if w, err := dst.Write(buf[:n]); err != nil {
			return n, err
		} else if w != n {
			return n, io.ErrShortWrite
		}
	}
	if err == io.EOF {
		err = errEnd
	}
	return n, err
}
