package reuse

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

const flagRST = 0x04

// filter puts a socket filter on a connection. The program sees TCP headers.
func filter(t *testing.T, c net.Conn, program ...unix.SockFilter) {
	t.Helper()
	err := onSocket(c.(syscall.Conn), func(fd int) error {
		return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// connectedFrom makes a connection from the port. Its near end is the caller's to close.
func connectedFrom(t *testing.T, p *Port) (to netip.AddrPort, near, far net.Conn) {
	t.Helper()
	to, accepted := server(t)
	near, err := p.Dial(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	far = <-accepted
	t.Cleanup(func() { far.Close() })
	return to, near, far
}

// abandoned has a connection from the port that only its far end knows of: the
// filter there takes nothing but RSTs.
func abandoned(t *testing.T, p *Port) (netip.AddrPort, net.Conn) {
	t.Helper()
	to, near, far := connectedFrom(t, p)
	onlyRST := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: tcpFlags},
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: flagRST | flagACK},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: flagRST, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: acceptWhole},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	filter(t, far, onlyRST...)
	near.(*net.TCPConn).SetLinger(0)
	near.Close() // with RST and ACK
	for began := clockOf(t, far); clockOf(t, far)-began <= 2*staleSlack; time.Sleep(time.Millisecond) {
	}
	return to, far
}

// clockOf reads the clock of a connection's timestamps.
func clockOf(t *testing.T, c net.Conn) (now int) {
	t.Helper()
	err := onSocket(c.(syscall.Conn), func(fd int) (err error) {
		now, err = unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_TIMESTAMP)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return now
}

// What is left of an earlier connection earned a RST, which NATs take for one of
// the new connection, and had the SYN repeated at once.
func TestDialPassesOverAnEarlierConnection(t *testing.T) {
	p := mustClaim(t, 0)
	to, far := abandoned(t, p)
	d := p.Begin(to, 0, time.Now())
	if _, err := far.Write([]byte("late")); err != nil {
		t.Fatal(err)
	}
	// Loopback delivers within the call.
	err := onSocket(far.(syscall.Conn), func(fd int) error {
		code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
		return cmp.Or(err, errnoOf(code))
	})
	if err != nil {
		t.Errorf("the dial answered: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func errnoOf(code int) error {
	if code == 0 {
		return nil
	}
	return unix.Errno(code)
}

// Whatever is sent on a connection is taken, however old the kernel's clock was.
func TestConnectionHasNoFilter(t *testing.T) {
	p := mustClaim(t, 0)
	to, _ := server(t)
	c, err := p.Begin(to, 0, time.Now()).Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	err = onSocket(c.(syscall.Conn), func(fd int) error {
		_, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_GET_FILTER)
		return err
	})
	if err != nil { // there is one, which does not fit in
		t.Error(err)
	}
}

// A connection is not ended because the system keeps its filter: nothing that is sent on
// it is old.
func TestConnectionWhoseFilterStays(t *testing.T) {
	p := mustClaim(t, 0)
	to, accepted := server(t)
	d := p.Begin(to, 0, time.Now())
	err := onSocket(d.f, func(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_LOCK_FILTER, 1) })
	if err != nil {
		t.Fatal(err)
	}
	c, err := d.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := onSocket(c.(syscall.Conn), takeStale); err == nil {
		t.Fatal("the filter could be taken away")
	}
	far := <-accepted
	defer far.Close()
	if _, err := io.WriteString(far, "hello"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
		t.Error(err)
	}
}

// TestStaleFilter shows what the filter takes, by the flags and the timestamp that
// is echoed.
func TestStaleFilter(t *testing.T) {
	const oldest = 1000
	for _, test := range []struct {
		name  string
		flags byte
		words byte
		first uint32 // of the options
		echo  uint32
		taken bool
	}{
		{"data of now", flagACK | 0x08, 8, timestampsOnly, oldest, true},
		{"data of before", flagACK | 0x08, 8, timestampsOnly, oldest - 1, false},
		{"data of before the clock began anew", flagACK, 8, timestampsOnly, 1<<32 + oldest - half, false},
		{"FIN of before", flagACK | 0x01, 8, timestampsOnly, 1, false},
		{"RST of before", flagACK | flagRST, 8, timestampsOnly, 1, false},
		{"with more options", flagACK, 11, timestampsOnly, 1, false},
		{"the answer to our SYN", flagACK | flagSYN, 10, 0x020405b4, 1, true},
		{"the peer's SYN", flagSYN, 10, 0x020405b4, 0, true},
		{"a refusal", flagACK | flagRST, 5, 0, 0, true},
		{"no timestamps", flagACK, 5, 0, 0, true},
		{"other options", flagACK, 8, 0x01010101, 1, true},
	} {
		segment := make([]byte, 4*int(test.words))
		segment[tcpOffset], segment[tcpFlags] = test.words<<4, test.flags
		if test.words >= 8 {
			binary.BigEndian.PutUint32(segment[tcpOptions:], test.first)
			binary.BigEndian.PutUint32(segment[tcpEcho:], test.echo)
		}
		if taken := interpret(t, staleFilter(oldest), segment); taken != test.taken {
			t.Errorf("%s: taken %t", test.name, taken)
		}
	}
}

// interpret runs a filter as the kernel does.
func interpret(t *testing.T, program []unix.SockFilter, segment []byte) bool {
	t.Helper()
	var raw []bpf.RawInstruction
	for _, i := range program {
		raw = append(raw, bpf.RawInstruction{Op: i.Code, Jt: i.Jt, Jf: i.Jf, K: i.K})
	}
	instructions, ok := bpf.Disassemble(raw)
	if !ok {
		t.Fatal("not a program")
	}
	vm, err := bpf.NewVM(instructions)
	if err != nil {
		t.Fatal(err)
	}
	n, err := vm.Run(segment)
	if err != nil {
		t.Fatal(err)
	}
	return n > 0
}

// vanished has a connection from the port of which this end is gone without a word,
// as with the power. Its far end has been sent something.
func vanished(t *testing.T, p *Port) (netip.AddrPort, net.Conn) {
	t.Helper()
	to, near, far := connectedFrom(t, p)
	err := onSocket(near.(syscall.Conn), func(fd int) error { return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_REPAIR, 1) })
	near.Close()
	if errors.Is(err, unix.EPERM) && os.Getenv("CI") != "true" {
		t.Skip("taking a connection away without a word needs CAP_NET_ADMIN: run it as root")
	}
	if err != nil {
		t.Fatal(err)
	}
	for began := clockOf(t, far); clockOf(t, far)-began <= 2*staleSlack; time.Sleep(time.Millisecond) {
	}
	return to, far
}

// Who still has an earlier connection answers a SYN with what that connection would
// say, and takes no SYN before a RST has ended it. Only a dial that passes over
// nothing gets through.
func TestDialEndsAConnectionThatTheFarEndStillHas(t *testing.T) {
	for _, passes := range []bool{true, false} {
		p := mustClaim(t, 0)
		to, far := vanished(t, p)
		since := time.Time{}
		if passes {
			since = time.Now()
		}
		filter(t, far, unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}) // the first SYN is lost: there is no filter yet
		d := p.Begin(to, 0, since)
		if err := onSocket(far.(syscall.Conn), takeStale); err != nil {
			t.Fatal(err)
		}
		// It says what it would say to the repeated SYN.
		if _, err := far.Write([]byte("still here")); err != nil {
			t.Fatal(err)
		}
		err := onSocket(far.(syscall.Conn), func(fd int) error {
			code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
			return cmp.Or(err, errnoOf(code))
		})
		if passes != (err == nil) {
			t.Errorf("passes over earlier connections %t: the far end's is ended by %v", passes, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		if passes {
			cancel()
		}
		c, err := d.Wait(ctx)
		if cancel(); passes != (err != nil) {
			t.Errorf("passes over earlier connections %t: %v", passes, err)
		}
		if err == nil {
			c.Close()
		}
	}
}
