package stream

import (
	"io"
	"runtime"
	"testing"
	"testing/synctest"
	"time"
)

// A stream that was used and rests holds no buffer, and neither does its
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
			synctest.Wait() // it is all on its way, or in yamux's buffer
			if _, err := io.CopyN(io.Discard, theirs[i], 512<<10); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		used := heap() - before
		time.Sleep(3 * PingEvery)
		synctest.Wait()
		rested := heap() - before
		if used < streams*512<<10 || rested > streams<<10+largeBuffer {
			t.Errorf("%d streams: %d KiB right after use, %d KiB later", streams, used>>10, rested>>10)
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
