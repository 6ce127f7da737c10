package reuse

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// fullListener returns the address of a listener whose queue is full, so that
// the kernel drops every SYN to it, and what closes it.
func fullListener(t *testing.T) (addr netip.AddrPort, end func()) {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	end = sync.OnceFunc(func() { unix.Close(fd) })
	t.Cleanup(end)
	if err := local.share.set(uintptr(fd)); err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := unix.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	sa, _ := unix.Getsockname(fd)
	addr = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(sa.(*unix.SockaddrInet4).Port))
	c, err := net.Dial("tcp4", addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return addr, end
}

// A dial that is given up in SYN_SENT must free its 4-tuple at once.
func TestCancelledDialFreesTheTuple(t *testing.T) {
	p := mustClaim(t, 0)
	full, _ := fullListener(t)
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		_, err := p.Dial(ctx, full)
		cancel()
		if err == nil || IsTupleInUse(err) {
			t.Fatalf("dial to a listener that answers no SYN: %v", err)
		}
	}
}

// TestRepeated has one SYN refused, and one that was dropped before.
func TestRepeated(t *testing.T) {
	p := mustClaim(t, 0)
	full, end := fullListener(t)
	d := p.Begin(full, 0, time.Time{})
	time.AfterFunc(500*time.Millisecond, end) // the kernel repeats the SYN after a second
	if _, err := d.Wait(t.Context()); !IsRefused(err) || !IsRepeated(err) {
		t.Errorf("%v, want a refusal of a repeated SYN", err)
	}
	if _, err := p.Dial(t.Context(), full); !IsRefused(err) || IsRepeated(err) {
		t.Errorf("%v, want a refusal of the first SYN", err)
	}
}

// hijack opens a second listener on the port as another program of the same
// user would.
func hijack(t *testing.T, number uint16) net.Listener {
	t.Helper()
	lc := net.ListenConfig{Control: local.share.control}
	lc.SetMultipathTCP(false)
	l, err := lc.Listen(context.Background(), "tcp4", ":"+strconv.Itoa(int(number)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// TestPinnedPort shows that a second listener of the same user gets nothing.
func TestPinnedPort(t *testing.T) {
	p := mustClaim(t, 0)
	thief := hijack(t, p.Number())
	stolen := make(chan int)
	go func() {
		n := 0
		for ; ; n++ {
			c, err := thief.Accept()
			if err != nil {
				stolen <- n
				return
			}
			c.Close()
		}
	}()
	const dials = 200
	for range dials {
		c, err := net.Dial("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(p.Number()))))
		if err != nil {
			t.Fatal(err)
		}
		c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
	thief.Close()
	if n := <-stolen; n != 0 {
		t.Errorf("the second listener got %d of %d connections, want 0", n, dials)
	}
}

// TestClaimRace shows that of many claims at once one succeeds.
func TestClaimRace(t *testing.T) {
	number, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	const rivals = 16
	results := make(chan *Port, rivals)
	for range rivals {
		go func() {
			p, _ := Claim(number, Shared)
			results <- p
		}()
	}
	won := 0
	for range rivals {
		if p := <-results; p != nil {
			defer p.Close()
			won++
		}
	}
	if won != 1 {
		t.Errorf("%d of %d claims succeeded, want 1", won, rivals)
	}
}

// TestClaimIsLocked shows that a claim under way elsewhere is a clash, even
// before its listener exists.
func TestClaimIsLocked(t *testing.T) {
	number, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	lock, err := local.lock(number)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	var clash *ClashError
	if _, err := Claim(number, Shared); !errors.As(err, &clash) {
		t.Errorf("claiming a port that is being claimed: %v, want a ClashError", err)
	}
}

// TestDescriptors shows that a refused claim leaves no descriptor behind.
func TestDescriptors(t *testing.T) {
	p := mustClaim(t, 0)
	before := descriptors(t)
	for range 20 {
		Claim(p.Number(), Shared)
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors after refused claims, %d before", after, before)
	}
}

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// A node that restarts must get its port back at once, whatever is left of its
// connections.
func TestClaimOverEndedConnections(t *testing.T) {
	p := mustClaim(t, 0)
	number := p.Number()
	to, accepted := server(t)
	c, err := p.Dial(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	far := <-accepted
	p.Close()
	mustClaim(t, number).Close() // the connection is established
	c.Close()
	mustClaim(t, number).Close() // FIN_WAIT2
	far.Close()
	p = mustClaim(t, number) // TIME_WAIT
	c, err = p.Dial(t.Context(), to)
	if err != nil {
		t.Fatalf("dialling over TIME_WAIT: %v", err)
	}
	c.Close()
}

// TestDialOptions shows what a dial under way has: nothing of it is left when it
// is given up, and a stopped program's does not go on for long.
func TestDialOptions(t *testing.T) {
	p := mustClaim(t, 0)
	full, _ := fullListener(t)
	d := p.Begin(full, 0, time.Time{})
	fd := int(d.f.Fd())
	linger, err := unix.GetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER)
	if err != nil || linger.Onoff != 1 || linger.Linger != 0 {
		t.Errorf("SO_LINGER is %+v, %v", linger, err)
	}
	if n, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_SYNCNT); err != nil || n != 4 {
		t.Errorf("TCP_SYNCNT is %d, %v", n, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestMutedDialIsGivenUp has a quiet dial that the peer's SYN has met before it could speak up. The
// peer hears none of the answers.
func TestMutedDialIsGivenUp(t *testing.T) {
	p := mustClaim(t, 0)
	full, _ := fullListener(t) // where nobody answers the quiet SYN
	fd, err := boundSocket(netip.AddrPortFrom(wildcards["tcp4"], p.Number()), dialling)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	unix.SetNonblock(fd, true)
	if err := unix.Connect(fd, sockaddr(full)); err != unix.EINPROGRESS {
		t.Fatal(err)
	}
	if err := muted(fd); err != nil {
		t.Errorf("nothing has come: %v", err)
	}
	deaf, err := boundSocket(full, dialling)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(deaf)
	nothing := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}}
	if err := unix.SetsockoptSockFprog(deaf, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &unix.SockFprog{Len: 1, Filter: &nothing[0]}); err != nil {
		t.Fatal(err)
	}
	unix.SetNonblock(deaf, true)
	if err := unix.Connect(deaf, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}, Port: int(p.Number())}); err != unix.EINPROGRESS {
		t.Fatal(err)
	}
	if err := muted(fd); !IsMuted(err) {
		t.Errorf("%v, want errMuted", err)
	}
}

// TestDialFromASlot shows the dials of a guess: from other ports, each always the
// same, to one address, and brief.
func TestDialFromASlot(t *testing.T) {
	p := mustClaim(t, 0)
	full, _ := fullListener(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var slots Slots
	seen := map[uint16]bool{p.Number(): true}
	for slot := 1; slot <= 50; slot++ {
		number, err := slots.Number(slot)
		if err != nil || seen[number] {
			t.Fatalf("slot %d is port %d, %v", slot, number, err)
		}
		seen[number] = true
		for range 2 { // one after the other, from the same port
			d := p.BeginWith(full, DialOptions{From: number, Brief: true})
			if d.err != nil {
				t.Fatal(d.err)
			}
			at, err := unix.Getsockname(int(d.f.Fd()))
			if err != nil || at.(*unix.SockaddrInet4).Port != int(number) {
				t.Errorf("from %+v, %v; want port %d", at, err, number)
			}
			if n, err := unix.GetsockoptInt(int(d.f.Fd()), unix.IPPROTO_TCP, unix.TCP_SYNCNT); err != nil || n != 1 {
				t.Errorf("TCP_SYNCNT is %d, %v", n, err)
			}
			if again, err := slots.Number(slot); again != number || err != nil {
				t.Errorf("slot %d is then port %d, %v", slot, again, err)
			}
			if _, err := d.Wait(ctx); !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	}
}
