package reuse

import (
	"cmp"
	"errors"
	"net"
	"os"
	"strings"
	"testing"
)

func TestParseMode(t *testing.T) {
	for _, m := range []Mode{Shared, DialOnly, Sequential} {
		if got, err := ParseMode(m.String()); got != m || err != nil {
			t.Errorf("ParseMode(%q) = %v, %v", m, got, err)
		}
	}
	for _, s := range []string{"", "auto", "Shared", Mode(0).String(), Mode(4).String()} {
		if m, err := ParseMode(s); err == nil {
			t.Errorf("ParseMode(%q) = %v, want an error", s, m)
		}
	}
	for _, m := range []Mode{0, 4} {
		if p, err := Claim(0, m); err == nil {
			p.Close()
			t.Errorf("a port was claimed in %v", m)
		}
	}
}

// rival listens on a port as another program would.
func rival(t *testing.T, p *Port, set options) (net.Listener, error) {
	t.Helper()
	l, err := p.open("tcp4", set)
	if err == nil {
		t.Cleanup(func() { l.Close() })
	}
	return l, err
}

// TestDialOnlyHoldsThePort shows that other programs do not get a port that has
// no listener, and that our dials from it go on.
func TestDialOnlyHoldsThePort(t *testing.T) {
	c, err := Probe(t.Context())
	if err = cmp.Or(err, c.NotDialOnly); err != nil && os.Getenv("CI") != "true" {
		t.Skip("dials cannot share a port here:", err)
	} else if err != nil {
		t.Fatal("dials cannot share a port here: ", err)
	}
	p := mustClaimIn(t, 0, DialOnly)
	if len(p.Listeners()) != 0 {
		t.Errorf("there are %d listeners", len(p.Listeners()))
	}
	if _, err := rival(t, p, nil); !isAny(err, local.portInUse) {
		t.Errorf("another program listens: %v", err)
	}
	if _, err := rival(t, p, local.exclusive); !isAny(err, local.portInUse) {
		t.Errorf("another program has the port for itself: %v", err)
	}
	for _, mode := range []Mode{Shared, DialOnly, Sequential} {
		var clash *ClashError
		if _, err := Claim(p.Number(), mode); !errors.As(err, &clash) {
			t.Errorf("claiming the port in mode %v: %v, want a ClashError", mode, err)
		}
	}
	dialTwo(t, p)
}

// dialTwo has two connections from a port at a time.
func dialTwo(t *testing.T, p *Port) {
	t.Helper()
	for range 2 {
		to, _ := server(t)
		c, err := p.Dial(t.Context(), to)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { discard(c) })
	}
}

// TestSequentialHoldsNothing shows that between two sockets the port is
// anybody's, and that this is told.
func TestSequentialHoldsNothing(t *testing.T) {
	to, _ := server(t) // before the claim: its port could be the one that is nobody's
	p := mustClaimIn(t, 0, Sequential)
	for range 2 {
		c, err := p.Dial(t.Context(), to)
		if err != nil {
			t.Fatal(err)
		}
		discard(c)
	}
	thief, err := rival(t, p, nil)
	if err != nil {
		t.Fatalf("something holds the port: %v", err)
	}
	_, err = p.Dial(t.Context(), to)
	var used *InUseError
	if !errors.As(err, &used) || !IsTupleInUse(err) || !strings.Contains(err.Error(), "another socket") {
		t.Errorf("dialling from a port that another program has: %v, want an InUseError about the port", err)
	}
	thief.Close()
	c, err := p.Dial(t.Context(), to)
	if err != nil {
		t.Fatal(err)
	}
	discard(c)
}
