package reuse

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peerd/peerd/punch/natlab"
)

// TestNoICMPErrorEndsADeafDial dials through a NAT that answers ICMP, from two
// ports: what comes back to the second comes after what comes back to the first.
func TestNoICMPErrorEndsADeafDial(t *testing.T) {
	natlab.Require(t)
	nat, err := natlab.ProfileByName("linux-icmp")
	if err != nil {
		t.Fatal(err)
	}
	lab, err := natlab.New(natlab.Config{B: nat})
	if err != nil {
		t.Fatal(err)
	}
	defer lab.Close()
	for _, tt := range []struct {
		ttl  int
		want error
	}{{0, unix.ECONNREFUSED}, {32, nil}} {
		first := beginOn(t, lab.A, netip.AddrPortFrom(lab.B.PublicAddr(), 9), tt.ttl)
		second := beginOn(t, lab.A, netip.AddrPortFrom(lab.B.PublicAddr(), 9), 0)
		if _, err := second.Wait(t.Context()); !IsRefused(err) {
			t.Fatalf("an ordinary dial: %v, want one that IsRefused", err)
		}
		err := onSocket(first.f, func(fd int) error {
			_, err := connected(fd)
			return err
		})
		if !errors.Is(err, tt.want) {
			t.Errorf("a dial with TTL %d: %v, want %v", tt.ttl, err, tt.want)
		}
	}
}

// beginOn begins a dial from a port of a host.
func beginOn(t *testing.T, h *natlab.Host, to netip.AddrPort, ttl int) (d *Dial) {
	t.Helper()
	err := h.Do(func() error {
		p, err := Claim(0, DialOnly)
		if err != nil {
			return err
		}
		t.Cleanup(func() { p.Close() })
		d = p.Begin(to, ttl, time.Time{})
		return d.err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.f.Close() })
	return d
}

// A path may be slower than the way through the server: what the kernel has not
// repeated is not missing yet.
func TestAcknowledged(t *testing.T) {
	p := mustClaim(t, 0)
	to, accepted := server(t)
	d := p.Begin(to, 0, time.Time{})
	near, err := d.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer near.Close()
	far := <-accepted
	defer far.Close()
	filter(t, far, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}) // takes nothing
	if _, err := near.Write([]byte("hello")); err != nil {
		t.Fatal(err)
	}
	for info := infoOf(t, near); info.Bytes_retrans == 0; info = infoOf(t, near) {
		if !d.Acknowledged() && infoOf(t, near).Bytes_retrans == 0 {
			t.Fatal("given up before the kernel has repeated anything")
		}
		time.Sleep(time.Millisecond)
	}
	if d.Acknowledged() {
		t.Error("acknowledged by nobody")
	}
	if err := onSocket(far.(syscall.Conn), takeStale); err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(far, far, 5); err != nil { // an answer acknowledges
		t.Fatal(err)
	}
	if _, err := io.ReadFull(near, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	if !d.Acknowledged() {
		t.Error("what has arrived is not acknowledged")
	}
}

func infoOf(t *testing.T, c net.Conn) (info *unix.TCPInfo) {
	t.Helper()
	err := onSocket(c.(syscall.Conn), func(fd int) (err error) {
		info, err = unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return info
}
