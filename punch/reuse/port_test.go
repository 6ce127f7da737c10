package reuse

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	asHelper()
	goleak.VerifyTestMain(m)
}

// helperEnv has this test program do something else than its tests: it names
// one of the helpers.
const helperEnv = "PEERD_REUSE_HELPER"

var helpers = map[string]func() error{}

// asHelper runs the helper that is asked for, and never returns then.
func asHelper() {
	f := helpers[os.Getenv(helperEnv)]
	if f == nil {
		return
	}
	if err := f(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// mustClaim claims a port in the best mode that works here.
func mustClaim(t *testing.T, number uint16) *Port {
	t.Helper()
	c, err := Probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return mustClaimIn(t, number, c.Mode)
}

func mustClaimIn(t *testing.T, number uint16, mode Mode) *Port {
	t.Helper()
	p, err := Claim(number, mode)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// server listens on loopback and hands out what it accepts.
func server(t *testing.T) (netip.AddrPort, <-chan net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	conns := make(chan net.Conn, 64)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			conns <- c
		}
	}()
	return netip.MustParseAddrPort(l.Addr().String()), conns
}

// TestDialAndListenShareThePort shows that what the probe promises is so.
func TestDialAndListenShareThePort(t *testing.T) {
	p := mustClaim(t, 0)
	first, accepted := server(t)
	second, _ := server(t)
	for _, to := range []netip.AddrPort{first, second} {
		c, err := p.Dial(t.Context(), to)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if got := c.LocalAddr().(*net.TCPAddr).Port; got != int(p.Number()) {
			t.Errorf("dialled %v from port %d, want %d", to, got, p.Number())
		}
	}
	if c := <-accepted; c.RemoteAddr().(*net.TCPAddr).Port != int(p.Number()) {
		t.Errorf("the server saw %v, want port %d", c.RemoteAddr(), p.Number())
	}
	_, err := p.Dial(t.Context(), first)
	if !IsTupleInUse(err) {
		t.Errorf("second dial to one endpoint: %v, want one that IsTupleInUse", err)
	}
	var held *InUseError
	if !errors.As(err, &held) || held.Port != p.Number() || held.To != first || !strings.Contains(err.Error(), "still holds") {
		t.Errorf("second dial to one endpoint: %v, want an InUseError", err)
	}
	if p.Mode() != Shared {
		return
	}
	in, err := net.Dial("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(p.Number()))))
	if err != nil {
		t.Fatalf("dialling the listener: %v", err)
	}
	in.Close()
}

func TestDialErrors(t *testing.T) {
	p := mustClaim(t, 0)
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to := netip.MustParseAddrPort(l.Addr().String())
	l.Close()
	if _, err := p.Dial(t.Context(), to); !IsRefused(err) || IsTupleInUse(err) || IsNoAnswer(err) {
		t.Errorf("dialling a closed port: %v, want one that IsRefused only", err)
	}
}

// TestClaimClash shows that Claim notices every kind of listener, and never
// takes another port instead.
func TestClaimClash(t *testing.T) {
	p := mustClaim(t, 0)
	_, err := Claim(p.Number(), p.Mode())
	var clash *ClashError
	if !errors.As(err, &clash) || clash.Port != p.Number() {
		t.Fatalf("claiming a claimed port: %v, want a ClashError", err)
	}
	addr, _ := server(t)
	if _, err := Claim(addr.Port(), Shared); !errors.As(err, &clash) {
		t.Errorf("claiming a port that a program listens on: %v, want a ClashError", err)
	}
	number := p.Number()
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	mustClaim(t, number)
}
