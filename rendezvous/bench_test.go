package rendezvous

import (
	"context"
	"net"
	"runtime"
	"testing"

	"github.com/peerd/peerd/proto/identity"
)

var unlimited = ServerConfig{MaxClients: -1, MaxClientsPerAddress: -1, MaxInstances: -1, MaxPending: -1,
	ConnectionRate: -1, IntroductionRate: -1}

// BenchmarkRegistration is a TLS handshake, a registration and its end, both
// sides of it in this process.
func BenchmarkRegistration(b *testing.B) {
	w := loopback(b, unlimited)
	key := identity.Generate()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s := w.scriptOn(w.connection(), key)
			s.register(answersNo)
			s.raw.(*net.TCPConn).SetLinger(0) // or the ports run out
			s.raw.Close()
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "registrations/s")
}

// BenchmarkIntroduction is a request, an offer, its answer and the introduction
// to both, through two clients over loopback; several pairs at once.
func BenchmarkIntroduction(b *testing.B) {
	w := loopback(b, unlimited)
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		cfg := w.nodeConfig()
		cfg.Answers = true
		asked := runNode(b, cfg)
		asks := runNode(b, w.nodeConfig())
		asked.await(b, true)
		asks.await(b, true)
		for pb.Next() {
			if _, err := asks.Introduce(context.Background(), asked.key.ID(), nil); err != nil {
				b.Error(err)
				return
			}
			<-asked.introduced
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "introductions/s")
}

// BenchmarkIdleClient reports what one idle client costs the server in heap and
// stacks. The clients are in another process.
func BenchmarkIdleClient(b *testing.B) {
	const clients = 2000
	for range b.N {
		w := loopback(b, unlimited)
		before := resident()
		child := w.child(clients)
		for range clients {
			<-child.states
		}
		b.ReportMetric(float64(resident()-before)/clients/1024, "KB/client")
		child.stop()
		w.server.Close()
	}
}

// resident returns the bytes of heap and stacks in use after a collection.
func resident() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
