//go:build linux

package natlab

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

func TestTransfer(t *testing.T) {
	Require(t)
	for _, cfg := range []Config{
		{A: profile(t, "linux-drop")},
		{A: profile(t, "user-sym-random")},
		{A: profile(t, "user-drop"), RTT: 2 * time.Millisecond},
		{A: profile(t, "user-drop"), RTT: 2 * time.Millisecond, Loss: 0.01, Jitter: time.Millisecond},
	} {
		t.Run(fmt.Sprintf("%s RTT %v loss %v", cfg.A.Name, cfg.RTT, cfg.Loss), func(t *testing.T) {
			t.Parallel()
			lab := newLab(t, cfg)
			c, s := connect(t, lab.A, lab.Server)
			size := 16 << 20
			if cfg.Loss > 0 {
				size = 1 << 20
			}
			data := make([]byte, size)
			rand.Read(data)
			transfer(t, c, s, data)
			transfer(t, s, c, data)
		})
	}
}

func transfer(t *testing.T, from, to net.Conn, data []byte) {
	t.Helper()
	sent := make(chan error, 1)
	go func() {
		_, err := from.Write(data)
		sent <- err
	}()
	got := make([]byte, len(data))
	to.SetReadDeadline(time.Now().Add(20 * time.Second))
	if _, err := io.ReadFull(to, got); err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, data) {
		t.Error("data changed on the way")
	}
}

func BenchmarkUserNAT(b *testing.B)   { benchmarkTransfer(b, Config{A: profile(b, "user-drop")}) }
func BenchmarkKernelNAT(b *testing.B) { benchmarkTransfer(b, Config{A: profile(b, "linux-drop")}) }

// BenchmarkUserNATDelay has every frame copied and queued.
func BenchmarkUserNATDelay(b *testing.B) {
	benchmarkTransfer(b, Config{A: profile(b, "user-drop"), RTT: 4 * time.Millisecond})
}

// BenchmarkUserNATSegments carries plain segments, as every lab with loss does.
func BenchmarkUserNATSegments(b *testing.B) {
	benchmarkTransfer(b, Config{A: profile(b, "user-drop"), Loss: 1e-9})
}

// benchmarkTransfer sends from the server to host A.
func benchmarkTransfer(b *testing.B, cfg Config) {
	Require(b)
	lab := newLab(b, cfg)
	c, s := connect(b, lab.A, lab.Server)
	const chunk = 1 << 20
	b.SetBytes(chunk)
	b.ResetTimer()
	go func() {
		buf := make([]byte, chunk)
		for range b.N {
			if _, err := s.Write(buf); err != nil {
				return
			}
		}
		s.Close()
	}()
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{c}, make([]byte, 256<<10))
	if err != nil || n != int64(b.N)*chunk {
		b.Fatal(n, err)
	}
	b.ReportMetric(float64(n)*8/1e9/b.Elapsed().Seconds(), "Gbit/s")
}

func BenchmarkNew(b *testing.B) {
	Require(b)
	for range b.N {
		lab, err := New(Config{A: profile(b, "linux-drop"), B: profile(b, "user-drop")})
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		lab.Close()
		b.StartTimer()
	}
}
