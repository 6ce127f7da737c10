package main

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"

	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/proto/identity"
	"github.com/peerd/peerd/punch/natlab"
)

// safeBuffer takes writes from several goroutines, as a file does.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(b)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// natlabRun runs the whole program.
func natlabRun(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, err safeBuffer
	code = execute(args, strings.NewReader(stdin), &out, &err)
	return code, out.String(), err.String()
}

func TestDemo(t *testing.T) {
	natlab.Require(t)
	defer goleak.VerifyNone(t)
	code, out, stderr := natlabRun(t, "", "demo", "--size", "1MiB", "--rate", "50Mbit")
	if code != 0 || stderr != "" {
		t.Fatalf("exit code %d, %s\n%s", code, stderr, out)
	}
	for _, want := range []string{
		"sends 50 Mbit/s", "NAT linux-open (kernel)", "NAT user-icmp (userspace)", "EIM, preserving",
		"server  peerd://203.0.113.10:7878#", "seen as 198.51.100.1:", "seen as 192.0.2.1:",
		"connection refused", "SYN 1 ", "B's NAT answers ICMP unreachable", "'s own SYN",
		"by simultaneous open", "TLS: the other is", "A → B  1048576 bytes", "B → A  1048576 bytes",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if lines := strings.Split(strings.TrimSpace(out), "\n"); !strings.HasPrefix(lines[len(lines)-1], "All held: linux-open × user-icmp") {
		t.Errorf("the last line is %q", lines[len(lines)-1])
	}
	checkPlain(t, out)
}

// checkPlain looks for escape sequences and for lines that are too long; those
// of the lab's own drawing are not ours.
func checkPlain(t *testing.T, out string) {
	t.Helper()
	if strings.ContainsAny(out, "\x1b\r") {
		t.Error("escape sequences in what is not a terminal")
	}
	for line := range strings.Lines(out) {
		drawing := strings.Contains(line, "(kernel)") || strings.Contains(line, "(userspace)")
		if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > 100 && !drawing {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

// onceSeen calls a function when a text is first written.
type onceSeen struct {
	seen bytes.Buffer
	text string
	do   func()
}

func (w *onceSeen) String() string { return w.seen.String() }

func (w *onceSeen) Write(b []byte) (int, error) {
	if w.do != nil && bytes.Contains(b, []byte(w.text)) {
		w.do()
		w.do = nil
	}
	return w.seen.Write(b)
}

func TestDemoBrokenTransfer(t *testing.T) {
	natlab.Require(t)
	defer goleak.VerifyNone(t)
	s, err := newStage(natlab.Config{RTT: 4 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	out := &onceSeen{text: "A file of"}
	d := &demo{demoOptions: demoOptions{rtt: 4 * time.Millisecond, size: 64 << 20}, narrator: newNarrator(out), stage: s}
	defer d.close()
	out.do = func() { d.b.cmd.Process.Kill() }
	if err := d.show(t.Context()); err == nil || !strings.Contains(err.Error(), "the file from A to B") {
		t.Errorf("%v\n%s", err, out)
	}
	if strings.Contains(out.String(), "All held") {
		t.Error("the demo says that all held")
	}
}

func TestDemoInterrupted(t *testing.T) {
	natlab.Require(t)
	defer goleak.VerifyNone(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupt := &signalError{}
	out := &onceSeen{text: "register", do: func() { cancel(interrupt) }}
	began := time.Now()
	err := (&program{stdout: out, stderr: io.Discard}).run(ctx, []string{"demo", "--a", "public", "--b", "public"})
	if err != interrupt {
		t.Error(err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestVerifyFile(t *testing.T) {
	whole := report{Bytes: 10, Sum: "ab"}
	for _, c := range []struct {
		name           string
		sent, received report
		ok             bool
	}{
		{"intact", whole, whole, true},
		{"changed", whole, report{Bytes: 10, Sum: "cd"}, false},
		{"cut short", whole, report{Bytes: 9, Sum: "ab"}, false},
		{"sent too little", report{Bytes: 9, Sum: "ab"}, report{Bytes: 9, Sum: "ab"}, false},
		{"no sums", report{Bytes: 10}, report{Bytes: 10}, false},
	} {
		if err := verifyFile(10, c.sent, c.received); (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestVerifyIdentities(t *testing.T) {
	a, b, c := identity.Generate().ID(), identity.Generate().ID(), identity.Generate().ID()
	if err := verifyIdentities(happening{Peer: b}, happening{Peer: a}, a, b); err != nil {
		t.Error(err)
	}
	if verifyIdentities(happening{Peer: c}, happening{Peer: a}, a, b) == nil {
		t.Error("A may be connected to a stranger")
	}
	if verifyIdentities(happening{Peer: b}, happening{Peer: c}, a, b) == nil {
		t.Error("B may be connected to a stranger")
	}
}

func TestWay(t *testing.T) {
	punched := func(kinds ...string) (d diary) {
		for _, k := range kinds {
			d = append(d, happening{Kind: peer.Punch, Punch: k})
		}
		return append(d, happening{Kind: peer.Connected})
	}
	for _, c := range []struct {
		a, b diary
		want string
	}{
		{punched("dialled", "connected", "proven"), punched("dialled", "connected", "proven"), "by simultaneous open"},
		{punched("dialled", "connected", "proven"), punched("dialled", "failed", "accepted"), "through B's listener"},
		{punched("accepted"), punched("dialled", "proven"), "through A's listener"},
		{punched("accepted", "proven"), punched("proven"), "by simultaneous open"},
	} {
		if got := way(map[string]diary{"A": c.a, "B": c.b}); !strings.HasPrefix(got, c.want) {
			t.Errorf("%q instead of %q", got, c.want)
		}
	}
}

func TestByteSize(t *testing.T) {
	for text, want := range map[string]byteSize{"16MiB": 16 << 20, "1kB": 1000, "7": 7, "7B": 7, "2GiB": 2 << 30} {
		var b byteSize
		if err := b.Set(text); err != nil || b != want {
			t.Errorf("%s: %d, %v", text, int64(b), err)
		}
		var again byteSize
		if err := again.Set(b.String()); err != nil || again != b {
			t.Errorf("%s comes back as %s: %v", text, b, err)
		}
	}
	for _, text := range []string{"", "MiB", "0", "-1MiB", "1.5MiB", "9999999999GiB", "1TiB"} {
		if b := byteSize(0); b.Set(text) == nil {
			t.Errorf("%q is %d", text, int64(b))
		}
	}
}
