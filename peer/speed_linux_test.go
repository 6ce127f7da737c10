package peer

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peerd/peerd/peer/stream"
	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
)

// BenchmarkStreamVsTLS sends the same amount over plain crypto/tls in writes of
// 64 KiB and over a stream, in turns, and reports the medians and their ratio.
func BenchmarkStreamVsTLS(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10, 256 << 10} {
		b.Run(fmt.Sprintf("write=%dK", size>>10), func(b *testing.B) {
			plainOut, plainIn := plainTLS(b)
			streamOut, streamIn := streamOverTLS(b)
			const amount = 256 << 20
			var plain, streams series
			transfer(b, plainOut, plainIn, 64<<10, amount/4)
			transfer(b, streamOut, streamIn, size, amount/4)
			for b.Loop() {
				plain.add(transfer(b, plainOut, plainIn, 64<<10, amount))
				streams.add(transfer(b, streamOut, streamIn, size, amount))
			}
			plain.report(b, "tls")
			streams.report(b, "stream")
			b.ReportMetric(median(streams.speed)/median(plain.speed), "ratio")
			b.ReportMetric(median(plain.cpu)/median(streams.cpu), "cpu-ratio")
		})
	}
}

// series are the results of one side.
type series struct{ speed, cpu []float64 }

func (s *series) add(speed, cpu float64) {
	s.speed, s.cpu = append(s.speed, speed), append(s.cpu, cpu)
}

func (s *series) report(b *testing.B, name string) {
	b.ReportMetric(median(s.speed), name+"-MB/s")
	b.ReportMetric(median(s.cpu), name+"-cpu-s/GB")
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// transfer returns the speed in MB/s, and the processor's time in s/GB.
func transfer(b *testing.B, out io.Writer, in io.Reader, size, amount int) (speed, cpu float64) {
	begun, used := time.Now(), processorTime(b)
	go func() {
		buf := make([]byte, size)
		for left := amount; left > 0; left -= len(buf) {
			if _, err := out.Write(buf[:min(len(buf), left)]); err != nil {
				b.Error(err)
				return
			}
		}
	}()
	buf := make([]byte, 256<<10)
	for left := amount; left > 0; {
		n, err := in.Read(buf)
		if left -= n; err != nil {
			b.Fatal(err)
		}
	}
	used = processorTime(b) - used
	return float64(amount) / 1e6 / time.Since(begun).Seconds(), used.Seconds() / (float64(amount) / 1e9)
}

// processorTime is what this process has used so far, in programs and kernel.
func processorTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// tcpPair returns a connection over loopback with the usual congestion control.
func tcpPair(b testing.TB) (x, y *net.TCPConn) {
	control := func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) {
			unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, "cubic")
		})
	}
	l, err := (&net.ListenConfig{Control: control}).Listen(context.Background(), "tcp4", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	out, err := (&net.Dialer{Control: control}).Dial("tcp4", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	in, err := l.Accept()
	if err != nil {
		b.Fatal(err)
	}
	return out.(*net.TCPConn), in.(*net.TCPConn)
}

func tlsConfigs(b *testing.B) (client, server *tls.Config) {
	x, y := identity.Generate(), identity.Generate()
	return x.ClientConfig(proto.ALPNPeer, y.ID()), y.ServerConfig(proto.ALPNPeer, func(proto.ID) error { return nil })
}

func plainTLS(b *testing.B) (out, in net.Conn) {
	x, y := tcpPair(b)
	client, server := tlsConfigs(b)
	tx, ty := tls.Client(x, client), tls.Server(y, server)
	handshake(b, tx, ty)
	b.Cleanup(func() { tx.Close(); ty.Close() })
	return tx, ty
}

func handshake(b *testing.B, client, server *tls.Conn) {
	errs := make(chan error, 1)
	go func() { errs <- client.Handshake() }()
	if err := errors.Join(server.Handshake(), <-errs); err != nil {
		b.Fatal(err)
	}
}

// streamOverTLS returns a stream on the stages that a session has, but for
// punching.
func streamOverTLS(b *testing.B) (out, in *stream.Stream) {
	x, y := tcpPair(b)
	client, server := tlsConfigs(b)
	wx, wy := newWire(x, x), newWire(y, y)
	tx, ty := tls.Client(wx, client), tls.Server(wy, server)
	handshake(b, tx, ty)
	a, z := stream.Client(&secured{tx, wx, nil}, 0), stream.Server(&secured{ty, wy, nil}, 0)
	b.Cleanup(func() { a.Close(); z.Close() })
	out, err := a.Open(context.Background(), "bulk")
	if err != nil {
		b.Fatal(err)
	}
	if in, err = z.Accept(); err != nil {
		b.Fatal(err)
	}
	if err := in.Confirm(); err != nil {
		b.Fatal(err)
	}
	return out, in
}

// BenchmarkEcho measures small messages there and back on a stream that rests
// between them, and what they cost.
func BenchmarkEcho(b *testing.B) {
	out, in := streamOverTLS(b)
	go io.Copy(struct{ io.Writer }{in}, struct{ io.Reader }{in})
	message := make([]byte, 128)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := out.Write(message); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(out, message); err != nil {
			b.Fatal(err)
		}
	}
}
