//go:build linux

package natlab

import (
	"context"
	"errors"
	"flag"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	asHelper()
	flag.Set("test.parallel", "10") // probes mostly wait
	Main(m)
}

func newLab(t testing.TB, cfg Config) *Lab {
	t.Helper()
	lab, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { lab.Close() })
	return lab
}

func profile(t testing.TB, name string) Profile {
	t.Helper()
	p, err := ProfileByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// connect dials from one host to a listener of another and returns both ends.
func connect(t testing.TB, from, to *Host) (dialed, accepted net.Conn) {
	t.Helper()
	l, err := to.Listen(netip.AddrPortFrom(to.Addr(), 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if dialed, err = from.Dial(ctx, l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if accepted, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialed.Close(); accepted.Close() })
	return dialed, accepted
}

// waitFor polls until something is so.
func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain for", what)
		}
	}
}

// TestTransfer sends bulk data through each kind of NAT, with and without super-packets.
// TestHairpin connects two hosts behind one NAT by way of its outside address.
// dialTTL sends SYNs with a TTL from A towards B's NAT.
func TestConcurrentLabs(t *testing.T) {
	Require(t)
	var wg sync.WaitGroup
	start := time.Now()
	for i := range 8 {
		wg.Go(func() {
			lab, err := New(Config{A: Profiles()[1+i%5], B: Profiles()[6+i%5]})
			if err != nil {
				t.Error(err)
				return
			}
			defer lab.Close()
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			l, err := lab.Server.Listen("203.0.113.10:80")
			if err != nil {
				t.Error(err)
				return
			}
			defer l.Close()
			for _, h := range []*Host{lab.A, lab.B} {
				c, err := h.Dial(ctx, "203.0.113.10:80")
				if err != nil {
					t.Error(err)
					continue
				}
				c.Close()
			}
		})
	}
	wg.Wait()
	t.Log("8 labs made, used and closed in", time.Since(start))
}

func TestDo(t *testing.T) {
	Require(t)
	lab := newLab(t, Config{})
	want := errors.New("mine")
	if err := lab.A.Do(func() error { return want }); err != want {
		t.Error(err)
	}
	if err := lab.A.Do(func() error { runtime.Goexit(); return nil }); err == nil {
		t.Error("no error from a function that left its goroutine")
	}
}

func TestConfigOutOfRange(t *testing.T) {
	for _, cfg := range []Config{{Loss: 1}, {Loss: -0.1}, {RTT: -1}, {Jitter: -1}, {Rate: -1}, {Rate: 1, Queue: -1}, {Queue: 1}} {
		if lab, err := New(cfg); err == nil {
			lab.Close()
			t.Errorf("%+v: no error", cfg)
		}
	}
}

func TestString(t *testing.T) {
	Require(t)
	lab := newLab(t, Config{A: profile(t, "openwrt"), B: profile(t, "user-sym-seq"), RTT: 36 * time.Millisecond, Loss: 0.01, Rate: 20e6})
	for _, want := range []string{"203.0.113.10", "openwrt", "user-sym-seq", "192.168.1.10", "10.0.2.10", "9ms", "20 Mbit/s, queue 96000"} {
		if s := lab.String(); !strings.Contains(s, want) {
			t.Errorf("%s misses %s", s, want)
		}
	}
}

// TestReadyAtOnce guards against a lab that loses its first packets: the kernel activates devices some time after they came up.
func TestReadyAtOnce(t *testing.T) {
	Require(t)
	for i := range 24 {
		cfg := Config{A: profile(t, "linux-drop"), B: profile(t, "user-drop"), SameNAT: i%2 == 0}
		lab := newLab(t, cfg)
		for _, h := range []*Host{lab.A, lab.B} {
			if c, _ := connect(t, h, lab.Server); retransmitted(t, c) > 0 {
				t.Errorf("lab %d: a SYN of %s was lost", i, h.Name())
			}
		}
		lab.Close()
	}
}

// TestCloseBeforeStart covers what New does when something fails half-way.
func TestCloseBeforeStart(t *testing.T) {
	Require(t)
	q, err := newQueue()
	if err != nil {
		t.Fatal(err)
	}
	lab := &Lab{cfg: Config{A: profile(t, "linux-drop"), B: profile(t, "user-drop")}, fabric: &fabric{queue: q}}
	if err := lab.build(); err != nil {
		t.Fatal(err)
	}
	lab.Close()
}

// retransmitted is how many segments of a connection were sent again, SYNs included.
func retransmitted(t *testing.T, c net.Conn) (n uint32) {
	t.Helper()
	raw, err := c.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var info *unix.TCPInfo
	if e := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); e != nil || err != nil {
		t.Fatal(e, err)
	}
	return info.Total_retrans
}
