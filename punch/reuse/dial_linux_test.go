package reuse

import (
	"encoding/binary"
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

// A proxy completes a dial, and resets it when its own has been refused. Who looks only
// then must not take that for a refusal.
func TestAnsweredAndReset(t *testing.T) {
	p := mustClaim(t, 0)
	to, accepted := server(t)
	d := p.Begin(to, 0, time.Time{})
	far := (<-accepted).(*net.TCPConn)
	if err := far.SetLinger(0); err != nil {
		t.Fatal(err)
	}
	far.Close()
	if _, err := d.Wait(t.Context()); !IsRefused(err) || !IsAnswered(err) {
		t.Errorf("%v: refused %t, answered %t", err, IsRefused(err), IsAnswered(err))
	}
	nobody := netip.AddrPortFrom(to.Addr(), 1)
	if _, err := p.Begin(nobody, 0, time.Time{}).Wait(t.Context()); !IsRefused(err) || IsAnswered(err) {
		t.Errorf("%v: refused %t, answered %t", err, IsRefused(err), IsAnswered(err))
	}
}

// Whatever ICMP error ends a dial, it is refused: the next one is due at once. What the
// kernel makes of each is its own, so real ones are sent, about real SYNs.
func TestICMPErrorsRefuse(t *testing.T) {
	natlab.Require(t)
	lab, err := natlab.New(natlab.Config{A: profileOf(t, "public"), B: profileOf(t, "public")})
	if err != nil {
		t.Fatal(err)
	}
	defer lab.Close()
	syns := make(chan natlab.Packet, 16)
	defer lab.Tap(func(p natlab.Packet) {
		if p.Link == "A" && p.Event == natlab.Sent && p.Flags == natlab.SYN {
			syns <- p
		}
	})()
	nowhere := netip.AddrPortFrom(netip.MustParseAddr("203.0.113.77"), 9)
	for code, want := range map[byte]error{0: unix.ENETUNREACH, 1: unix.EHOSTUNREACH, 2: unix.ENOPROTOOPT, 3: unix.ECONNREFUSED, 5: unix.EOPNOTSUPP,
		6: unix.ENETUNREACH, 7: unix.EHOSTDOWN, 8: unix.ENONET, 9: unix.ENETUNREACH, 10: unix.EHOSTUNREACH, 13: unix.EHOSTUNREACH} {
		for range 20 { // the error may come at any moment of the wait for it
			d := beginOn(t, lab.A, nowhere, 0)
			tell(t, lab.B, lab.A.Addr(), unreachable(code, <-syns))
			if _, err := d.Wait(t.Context()); !IsRefused(err) || !errors.Is(err, want) || IsUnreachable(err) != (code != 3) {
				t.Errorf("code %d: %v, refused %t, unreachable %t; want %v", code, err, IsRefused(err), IsUnreachable(err), want)
			}
		}
	}
}

// TCP has no way to a group, so no SYN leaves, and nobody has refused it.
func TestNoWayIsNoRefusal(t *testing.T) {
	natlab.Require(t)
	lab, err := natlab.New(natlab.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer lab.Close()
	err = lab.A.Do(func() error {
		p, err := Claim(0, DialOnly)
		if err != nil {
			return err
		}
		defer p.Close()
		_, err = p.Dial(t.Context(), netip.MustParseAddrPort("224.0.0.1:9"))
		return err
	})
	if !errors.Is(err, unix.ENETUNREACH) || IsRefused(err) || IsUnreachable(err) {
		t.Errorf("%v: refused %t, unreachable %t", err, IsRefused(err), IsUnreachable(err))
	}
}

func profileOf(t *testing.T, name string) natlab.Profile {
	p, err := natlab.ProfileByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// unreachable is the ICMP error (RFC 792) about a SYN.
func unreachable(code byte, about natlab.Packet) []byte {
	m := make([]byte, 8+20+8)
	m[0], m[1] = 3, code
	quoted := m[8:]
	quoted[0], quoted[9] = 0x45, unix.IPPROTO_TCP
	binary.BigEndian.PutUint16(quoted[2:], 60)
	src, dst := about.Src.Addr().As4(), about.Dst.Addr().As4()
	copy(quoted[12:], src[:])
	copy(quoted[16:], dst[:])
	binary.BigEndian.PutUint16(quoted[20:], about.Src.Port())
	binary.BigEndian.PutUint16(quoted[22:], about.Dst.Port())
	binary.BigEndian.PutUint32(quoted[24:], about.Seq)
	sum := uint32(0)
	for i := 0; i < len(m); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(m[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(m[2:], ^uint16(sum+sum>>16))
	return m
}

// tell sends an ICMP message from a host.
func tell(t *testing.T, from *natlab.Host, to netip.Addr, message []byte) {
	t.Helper()
	err := from.Do(func() error {
		c, err := net.ListenPacket("ip4:icmp", from.Addr().String())
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.WriteTo(message, &net.IPAddr{IP: to.AsSlice()})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}
