package stream

import (
	"io"
	"runtime"
	"testing"
	"testing/synctest"
)

// A stream on which everything was read holds no buffer, and neither does its
// session.
func TestIdleStreamsHoldLittle(t *testing.T) {
	bubble(t, func(t *testing.T) {
		client, server := quiet(t)
		const streams = 64
		mine, theirs := make([]*Stream, streams), make([]*Stream, streams)
		for i := range streams {
			mine[i], theirs[i] = open(t, client, server)
		}
		before := heap()
		for i := range streams {
			go mine[i].Write(make([]byte, 512<<10))
			synctest.Wait() // it is all on its way, or waits to be read
			if _, err := io.CopyN(io.Discard, theirs[i], 512<<10); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		if holds := heap() - before; holds > streams<<10+largeBuffer {
			t.Errorf("%d streams hold %d KiB", streams, holds>>10)
		}
	})
}

func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}
