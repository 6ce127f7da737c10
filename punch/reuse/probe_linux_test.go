package reuse

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/peerd/peerd/punch/natlab"
)

func init() {
	helpers["probe"] = tellProbe
	helpers["hold"] = tellHold
}

// told is what a process found out.
type told struct {
	Capabilities
	NotShared, NotDialOnly string
}

// tellProbe prints what this process finds out.
func tellProbe() error {
	c, err := Probe(context.Background())
	if err != nil {
		return err
	}
	text := func(err error) string {
		if err == nil {
			return ""
		}
		return err.Error()
	}
	return json.NewEncoder(os.Stdout).Encode(told{c, text(c.NotShared), text(c.NotDialOnly)})
}

// tellHold says whether a rival that sets SO_REUSEADDR can listen on a port that
// is held, and what a dial says then.
func tellHold() error {
	p, err := Claim(0, DialOnly)
	if err != nil {
		return err
	}
	thief, err := p.open("tcp4", options{reuseAddr})
	if err != nil {
		return err
	}
	defer thief.Close()
	b, err := newBench(context.Background())
	if err != nil {
		return err
	}
	if _, err = b.dial(p, 0, 0); !IsTupleInUse(err) {
		return fmt.Errorf("a dial beside another program's listener: %v, want one that IsTupleInUse", err)
	}
	return nil
}

// under runs a helper under a filter on a host.
func under(t *testing.T, h *natlab.Host, f natlab.Filter, helper string) (stdout []byte, err error) {
	t.Helper()
	c := h.Command(t.Context(), os.Args[0])
	c.Env = append(os.Environ(), helperEnv+"="+helper)
	c.Filter = f
	var stderr bytes.Buffer
	c.Stderr = &stderr
	stdout, err = c.Output()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, stderr.String())
	}
	return stdout, err
}

func newLab(t *testing.T) *natlab.Lab {
	t.Helper()
	natlab.Require(t)
	lab, err := natlab.New(natlab.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lab.Close(); err != nil {
			t.Error(err)
		}
	})
	return lab
}

// TestProbeIsNotDeceived shows what is found out where the options do not exist,
// and where they say that they have worked and have not.
func TestProbeIsNotDeceived(t *testing.T) {
	lab := newLab(t)
	const (
		inUse  = ": bind: address already in use"
		second = "a dial from the listener's port" + inUse
	)
	for _, want := range []struct {
		filter natlab.Filter
		told
	}{
		{natlab.NoFilter, told{Capabilities: Capabilities{Mode: Shared, ReusePort: true, Pinned: true, QuietDial: true}}},
		{natlab.DenyReusePort, told{Capabilities: Capabilities{Mode: DialOnly, QuietDial: true}, NotShared: second}},
		{natlab.IgnoreReusePort, told{Capabilities: Capabilities{Mode: DialOnly, QuietDial: true}, NotShared: second}},
		{natlab.IgnoreReuse, told{Capabilities: Capabilities{Mode: Sequential, QuietDial: true},
			NotShared: second, NotDialOnly: "a second dial from one port" + inUse}},
	} {
		out, err := under(t, lab.A, want.filter, "probe")
		if err != nil {
			t.Error(want.filter, err)
			continue
		}
		var got told
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatal(err)
		}
		if got != want.told {
			t.Errorf("under filter %v:\ngot  %+v\nwant %+v", want.filter, got, want.told)
		}
	}
}

// TestHeldPortWithoutReusePort shows what a rival can do where there is no
// SO_REUSEPORT, and what cannot be helped; see hold.
func TestHeldPortWithoutReusePort(t *testing.T) {
	lab := newLab(t)
	for _, f := range []natlab.Filter{natlab.DenyReusePort, natlab.IgnoreReusePort} {
		if _, err := under(t, lab.A, f, "hold"); err != nil {
			t.Errorf("under filter %v: %v", f, err)
		}
	}
}

// TestHeldPort shows that SO_REUSEADDR, which most servers set, does not get a
// rival past a port that is held with SO_REUSEPORT, and that SO_REUSEPORT does
// without harm to our dials.
func TestHeldPort(t *testing.T) {
	p := mustClaimIn(t, 0, DialOnly)
	if _, err := rival(t, p, options{reuseAddr}); !isAny(err, local.portInUse) {
		t.Errorf("another program listens: %v", err)
	}
	if _, err := rival(t, p, local.share); err != nil {
		t.Errorf("a program that sets what we set: %v", err)
	}
	dialTwo(t, p)
}

// TestPinIsNoticed shows that the probe tells a port that is pinned from one
// that is not.
func TestPinIsNoticed(t *testing.T) {
	b, err := newBench(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	defer func(set options) { listening = set }(listening)
	for _, want := range []bool{true, false} {
		if got, err := b.pinned(); got != want || err != nil {
			t.Errorf("pinned: %t, %v; want %t", got, err, want)
		}
		listening = local.share
	}
}

// TestProbeWithFewDescriptors shows that a lack of descriptors is an error and
// never makes the system look worse than it is.
func TestProbeWithFewDescriptors(t *testing.T) {
	want, err := Probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var usual unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &usual); err != nil {
		t.Fatal(err)
	}
	defer unix.Setrlimit(unix.RLIMIT_NOFILE, &usual)
	failed := 0
	for more := range 64 {
		few := unix.Rlimit{Cur: uint64(descriptors(t) + more), Max: usual.Max}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
			t.Fatal(err)
		}
		got, err := Probe(t.Context())
		unix.Setrlimit(unix.RLIMIT_NOFILE, &usual)
		if err != nil {
			if failed++; !errors.Is(err, unix.EMFILE) {
				t.Errorf("with %d more descriptors: %v, want EMFILE", more, err)
			}
		} else if got != want {
			t.Errorf("with %d more descriptors: %+v, want %+v", more, got, want)
		}
	}
	if failed < 3 || failed > 40 {
		t.Errorf("%d of 64 tries failed", failed)
	}
}

// TestProbeLeavesNothing shows that no descriptor and no TIME_WAIT is left.
func TestProbeLeavesNothing(t *testing.T) {
	lab := newLab(t)
	before := descriptors(t)
	var sockets string
	err := lab.A.Do(func() error {
		if _, err := Probe(t.Context()); err != nil {
			return err
		}
		// The thread's network namespace, and its sockets in every state.
		text, err := os.ReadFile("/proc/thread-self/net/tcp")
		sockets = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if after := descriptors(t); after != before {
		t.Errorf("%d descriptors after probing, %d before", after, before)
	}
	if strings.Count(sockets, "\n") > 1 {
		t.Errorf("sockets after probing:\n%s", sockets)
	}
}
