package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
	"github.com/peerd/peerd/punch/natlab"
)

func TestRun(t *testing.T) {
	natlab.Require(t)
	defer goleak.VerifyNone(t)
	t.Setenv("TMPDIR", t.TempDir())
	code, out, stderr := natlabRun(t, "typed", "run", "--a", "openwrt", "--b", "user-rst", "--", "sh", "-c",
		`echo "$LAB_SERVER $LAB_A $LAB_B $LAB_A_OUTSIDE $LAB_B_OUTSIDE"; ls "$PEERD_STATE_DIR"
		 echo "$PEERD_SERVER $PEER"; cat; echo complaint >&2; sleep 1000 >/dev/null 2>&1 & exit 7`)
	if code != 7 || stderr != "complaint\n" {
		t.Errorf("exit code %d, %q", code, stderr)
	}
	lines := strings.Split(out, "\n")
	if len(lines) != 4 {
		t.Fatal(out)
	}
	if lines[0] != "203.0.113.10 192.168.1.10 10.0.2.10 198.51.100.1 192.0.2.1" || lines[1] != "identity.key" || lines[3] != "typed" {
		t.Error(out)
	}
	server, id, _ := strings.Cut(lines[2], " ")
	if _, err := proto.ParseServerURL(server); err != nil {
		t.Error(err)
	}
	if _, err := proto.ParseID(id); err != nil {
		t.Error(err)
	}
	checkEmpty(t, os.Getenv("TMPDIR"))
}

// checkEmpty looks for what a command has left.
func checkEmpty(t *testing.T, dir string) {
	t.Helper()
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Error("left behind: ", left, err)
	}
}

func TestRunExitCodes(t *testing.T) {
	natlab.Require(t)
	defer goleak.VerifyNone(t)
	for _, c := range []struct {
		code   int
		stderr string
		args   []string
	}{
		{0, "", []string{"--same-nat", "--", "true"}},
		{137, "", []string{"--", "sh", "-c", "kill -KILL $$"}},
		{1, "natlab: starting the command on A: ", []string{"--", "/does/not/exist"}},
		{2, `natlab: requires at least 1 arg(s), only received 0; see "natlab run --help"`, nil},
		{2, `natlab: no profile "none"; there are public, `, []string{"--a", "none", "--", "true"}},
		{2, `natlab: --expose: "x" is neither a port, `, []string{"--expose", "x", "--", "true"}},
		{2, "natlab: unknown flag: --frob", []string{"--frob", "--", "true"}},
	} {
		code, out, stderr := natlabRun(t, "", append([]string{"run"}, c.args...)...)
		if code != c.code || out != "" || !strings.HasPrefix(stderr, c.stderr) {
			t.Errorf("%q: exit code %d instead of %d, %q, %q", c.args, code, c.code, out, stderr)
		}
	}
}

// TestRunTarget has the command on A open a target that the command on B
// serves. Both commands are this test program.
func TestRunTarget(t *testing.T) {
	natlab.Require(t)
	defer goleak.VerifyNone(t)
	self := func(test string) []string { return []string{os.Args[0], "-test.v", "-test.run", "^" + test + "$"} }
	args := []string{"run", "--a", "linux-open", "--b", "user-drop", "--expose", "greeting=127.0.0.1:9000",
		"--on-b", "exec " + strings.Join(self("TestOnB"), " "), "--"}
	code, out, stderr := natlabRun(t, "", append(args, self("TestOnA")...)...)
	if code != 0 || !strings.Contains(out, "answer: hello from B") {
		t.Errorf("exit code %d\n%s\n%s", code, out, stderr)
	}
}

// TestOnB is the command on B of TestRunTarget.
func TestOnB(t *testing.T) {
	if os.Getenv("LAB_SERVER") == "" {
		return // there is nothing to do outside a lab
	}
	if os.Getenv("PEER") != "" {
		t.Error("B has A's identity")
	}
	l, err := net.Listen("tcp4", "127.0.0.1:9000")
	if err != nil {
		t.Fatal(err)
	}
	for {
		c, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		io.WriteString(c, "hello from B")
		c.Close()
	}
}

// TestOnA is the command on A of TestRunTarget.
func TestOnA(t *testing.T) {
	if os.Getenv("LAB_SERVER") == "" {
		return // there is nothing to do outside a lab
	}
	key, created, err := identity.LoadOrCreate(filepath.Join(os.Getenv("PEERD_STATE_DIR"), "identity.key"))
	if err != nil || created {
		t.Fatal(created, err)
	}
	server, err := proto.ParseServerURL(os.Getenv("PEERD_SERVER"))
	if err != nil {
		t.Fatal(err)
	}
	id, err := proto.ParseID(os.Getenv("PEER"))
	if err != nil {
		t.Fatal(err)
	}
	n, err := peer.New(peer.Config{Key: key, Server: server})
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	answer, err := readAll(t.Context(), n, id)
	for refused := new(peer.RefusedError); errors.As(err, &refused); { // the command on B is not ready yet
		time.Sleep(10 * time.Millisecond)
		answer, err = readAll(t.Context(), n, id)
	}
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("answer: %s\n", answer)
}

// readAll reads what the target greeting of a peer says.
func readAll(ctx context.Context, n *peer.Node, id proto.ID) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	s, err := n.Dial(ctx, id, "greeting")
	if err != nil {
		return nil, err
	}
	defer s.Close()
	return io.ReadAll(s)
}

func TestRunInterrupted(t *testing.T) {
	natlab.Require(t)
	defer goleak.VerifyNone(t)
	t.Setenv("TMPDIR", t.TempDir())
	ctx, cancel := context.WithCancelCause(t.Context())
	interrupt := &signalError{os.Interrupt}
	var stderr safeBuffer
	out := &onceSeen{text: "ready", do: func() { cancel(interrupt) }}
	began := time.Now()
	err := (&program{stdin: strings.NewReader(""), stdout: out, stderr: &stderr}).run(ctx,
		[]string{"run", "--on-b", "sleep 1000", "--", "sh", "-c", "trap 'echo ending; exit 3' TERM; echo ready; sleep 1000 >/dev/null 2>&1 & wait"})
	if code, _ := judge(err); code != exitInterrupted || stderr.String() != "" {
		t.Errorf("%v: exit code %d, %s", err, code, stderr.String())
	}
	if !strings.Contains(out.String(), "ending") {
		t.Error("the command was not told to end")
	}
	if took := time.Since(began); took > killDelay+3*time.Second {
		t.Errorf("it took %v", took)
	}
	checkEmpty(t, os.Getenv("TMPDIR"))
}

func TestExposed(t *testing.T) {
	got, err := exposed([]string{"22", "web=127.0.0.1:80", "10.0.2.1:53", "db=5432"})
	if err != nil {
		t.Fatal(err)
	}
	for name, addr := range map[string]string{"22": "127.0.0.1:22", "web": "127.0.0.1:80", "10.0.2.1:53": "10.0.2.1:53", "db": "127.0.0.1:5432"} {
		if got[name] != addr {
			t.Errorf("%s is at %q instead of %q", name, got[name], addr)
		}
	}
	for _, s := range []string{"", "=22", "web", "web=", "70000", strings.Repeat("x", proto.MaxTarget+1) + "=22"} {
		if _, err := exposed([]string{s}); err == nil {
			t.Errorf("%q is taken", s)
		}
	}
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, `natlab: a command is missing; see "natlab --help"`},
		{[]string{"frob"}, `natlab: unknown command "frob" for "natlab"; see "natlab --help"`},
		{[]string{"demo", "--size", "big"}, `natlab: invalid argument "big" for "--size" flag: "big" is no size such as 16MiB; see "natlab demo --help"`},
		{[]string{"profiles", "x"}, `natlab: unknown command "x" for "natlab profiles"; see "natlab profiles --help"`},
	} {
		code, out, stderr := natlabRun(t, "", c.args...)
		if code != exitUsage || out != "" || strings.TrimSpace(stderr) != c.want {
			t.Errorf("%q: exit code %d, %q, %q", c.args, code, out, stderr)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, name := range []string{"demo", "run", "prove", "matrix", "replay", "profiles"} {
		code, out, stderr := natlabRun(t, "", name, "--help")
		if code != 0 || stderr != "" || !strings.Contains(out, "Examples:") {
			t.Errorf("%s: exit code %d, %q, %q", name, code, out, stderr)
		}
	}
}

func TestProfiles(t *testing.T) {
	code, out, stderr := natlabRun(t, "", "profiles")
	if code != 0 || stderr != "" {
		t.Fatal(code, stderr)
	}
	for _, p := range natlab.Profiles() {
		if !strings.Contains(out, "\n"+p.Name+" ") && !strings.HasPrefix(out, p.Name+" ") {
			t.Errorf("no %s in\n%s", p.Name, out)
		}
	}
}
