//go:build unix

package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
)

func TestMain(m *testing.M) {
	syscall.Umask(0o022) // others cannot write what the scripts create
	testscript.Main(m, map[string]func(){"peerd": main, "sock": sock})
}

// TestScript runs the scripts in testdata/script with the real program, on
// loopback. What they have besides the usual commands:
//
//	start NAME ARG…        runs peerd in the background, with a standard input
//	                       that stays open, and waits for its first line, which
//	                       becomes $NAME; its output is in NAME.out and
//	                       NAME.err, its number in $NAME_pid, the address in a
//	                       server's URL in $NAME_addr
//	launch NAME ARG…       the same, for a command that prints no line there
//	halt NAME SIGNAL CODE  sends it a signal, or none if that is -, and checks
//	                       its exit code
//	exits CODE PROGRAM …   runs a program and checks the exit code
//	await FILE PATTERN N   waits until N lines of a file match
//	random FILE SIZE       writes random bytes
//	took N                 waits until the late target has read N bytes
//	forward FILE TARGET V  waits for the line of a forward to a target, and keeps
//	                       the place where it listens as $V
//	private FILE…          checks that the files are for their owner only
//
// and as conditions: devfull and proc (the system has /dev/full, /proc/self), pty
// (testscript has pseudo-terminals here), replaces (a unix socket that was
// left behind is replaced) and dialsback (a server here has all that it takes to
// dial back, and loopback has several addresses).
//
// The program sock connects to an address.
//
// $ME is the ID of the key in $PEERD_STATE_DIR, $NOBODY that of nobody,
// $MISTYPED none. The variables of startTargets
// stand for the addresses of small services.
func TestScript(t *testing.T) {
	// Programs that are started inherit an ignored SIGHUP, but not a handled one.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	services := startTargets(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			dir := filepath.Join(e.WorkDir, "state")
			key, _, err := identity.LoadOrCreate(filepath.Join(dir, peerKeyFile))
			if err != nil {
				return err
			}
			e.Setenv("GORACE", "atexit_sleep_ms=50") // not a second for each of them
			e.Setenv("PEERD_STATE_DIR", dir)
			e.Setenv("ME", key.ID().String())
			e.Setenv("NOBODY", nobody)
			e.Setenv("MISTYPED", strings.Replace(nobody, "aaaa", "aaba", 1))
			for name, addr := range services.addrs {
				_, port, _ := net.SplitHostPort(addr)
				e.Setenv(name, addr)
				e.Setenv(name+"_PORT", port)
			}
			e.Values[processesKey{}] = make(processes)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"start": cmdStart, "launch": cmdLaunch, "halt": cmdHalt, "exits": cmdExits, "await": cmdAwait, "random": cmdRandom,
			"took": services.cmdTook, "forward": cmdForward, "private": cmdPrivate,
		},
		Condition: condition,
	})
}

// nobody is the ID of a peer that does not exist.
var nobody = proto.ID{1}.String()

// processes are the background programs of one script.
type processes map[string]*exec.Cmd

type processesKey struct{}

// patience bounds every wait.
const patience = 20 * time.Second

func cmdStart(ts *testscript.TestScript, neg bool, args []string) {
	cmdLaunch(ts, neg, args)
	name := args[0]
	line := firstLine(ts, name)
	ts.Setenv(name, line)
	if addr, _, ok := strings.Cut(strings.TrimPrefix(line, "peerd://"), "#"); ok {
		ts.Setenv(name+"_addr", addr)
	}
}

func cmdLaunch(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start NAME ARG…, or launch NAME ARG…")
	}
	name := args[0]
	cmd := exec.Command("peerd", args[1:]...)
	cmd.Dir = ts.MkAbs(".")
	cmd.Env = os.Environ()
	for _, v := range []string{"PATH", "HOME", "GORACE", "XDG_CONFIG_HOME", "PEERD_STATE_DIR", "PEERD_SERVER", "PEERD_CONFIG", "PEERD_EXPOSE", "PEERD_ALLOW", "PEERD_LISTEN", "PEERD_PROBE_LISTEN", "PEERD_TICKET", "PEERD_TIMEOUT"} {
		if value := ts.Getenv(v); value != "" {
			cmd.Env = append(cmd.Env, v+"="+value)
		}
	}
	stdout, err := os.Create(ts.MkAbs(name + ".out"))
	ts.Check(err)
	defer stdout.Close()
	stderr, err := os.Create(ts.MkAbs(name + ".err"))
	ts.Check(err)
	defer stderr.Close()
	cmd.Stdout, cmd.Stderr = stdout, stderr
	_, err = cmd.StdinPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	ts.Defer(func() { cmd.Process.Kill(); cmd.Wait() })
	ts.Value(processesKey{}).(processes)[name] = cmd
	ts.Setenv(name+"_pid", strconv.Itoa(cmd.Process.Pid))
}

func firstLine(ts *testscript.TestScript, name string) string {
	var line string
	eventually(ts, "no line from "+name, func() (ok bool) {
		data, err := os.ReadFile(ts.MkAbs(name + ".out"))
		ts.Check(err)
		line, _, ok = strings.Cut(string(data), "\n")
		return ok
	})
	return line
}

// eventually polls a condition.
func eventually(ts *testscript.TestScript, failure string, ok func() bool) {
	for end := time.Now().Add(patience); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("%s after %v", failure, patience)
		}
	}
}

func cmdHalt(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: halt NAME SIGNAL CODE")
	}
	signals := map[string]os.Signal{"INT": syscall.SIGINT, "TERM": syscall.SIGTERM, "HUP": syscall.SIGHUP}
	cmd := ts.Value(processesKey{}).(processes)[args[0]]
	if args[1] != "-" {
		ts.Check(cmd.Process.Signal(signals[args[1]]))
	}
	watchdog := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer watchdog.Stop()
	checkCode(ts, cmd.Wait(), args[2])
}

func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE PROGRAM ARG…")
	}
	checkCode(ts, ts.Exec(args[1], args[2:]...), args[0])
}

func checkCode(ts *testscript.TestScript, err error, want string) {
	var exit *exec.ExitError
	switch {
	case err == nil && want == "0":
	case errors.As(err, &exit) && strconv.Itoa(exit.ExitCode()) == want:
	default:
		ts.Fatalf("exit: %v, want code %s", err, want)
	}
}

func cmdAwait(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: await FILE PATTERN N")
	}
	pattern := regexp.MustCompile("(?m)" + args[1])
	eventually(ts, fmt.Sprintf("not %s times %q", args[2], args[1]), func() bool {
		return strconv.Itoa(len(pattern.FindAllString(ts.ReadFile(args[0]), -1))) == args[2]
	})
}

func cmdPrivate(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		info, err := os.Stat(ts.MkAbs(name))
		ts.Check(err)
		if info.Mode() != 0o600 {
			ts.Fatalf("%s has mode %v, want 0600", name, info.Mode())
		}
	}
}

// condition answers for what a system has, so that no script names one.
func condition(name string) (bool, error) {
	exists := func(path string) (bool, error) { _, err := os.Stat(path); return err == nil, nil }
	switch name {
	case "devfull":
		return exists("/dev/full")
	case "proc":
		return exists("/proc/self")
	case "pty":
		return hasPseudoTerminals, nil
	case "replaces":
		return replacesSockets, nil
	case "dialsback":
		return dialsBack, nil
	}
	return false, fmt.Errorf("no condition is called %s", name)
}

func cmdRandom(ts *testscript.TestScript, neg bool, args []string) {
	size, err := strconv.Atoi(args[1])
	ts.Check(err)
	data := make([]byte, size)
	rand.Read(data)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o600))
}

// targets are the services that the scripts' peers expose.
type targets struct {
	addrs map[string]string // by environment variable
	late  atomic.Int64      // bytes that the late target has read
}

func startTargets(t *testing.T) *targets {
	s := &targets{addrs: make(map[string]string)}
	serve := func(name string, handle func(*net.TCPConn)) {
		s.addrs[name] = startTarget(t, handle)
	}
	serve("ECHO", func(c *net.TCPConn) { io.Copy(c, c) })
	serve("SUM", sendSum)
	serve("GREET", func(c *net.TCPConn) { io.WriteString(c, "hello\n") })
	serve("LATE", s.readLate)
	serve("RESET", func(c *net.TCPConn) { io.WriteString(c, "hello\n"); c.Read(make([]byte, 1)); c.SetLinger(0) })
	serve("TICK", tick)
	s.addrs["SILENT"] = silentServer(t)
	return s
}

// startTarget serves on loopback until the test ends.
func startTarget(t *testing.T, handle func(*net.TCPConn)) string {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { defer c.Close(); handle(c.(*net.TCPConn)) })
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return l.Addr().String()
}

// silentServer never says anything.
func silentServer(t *testing.T) string {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.Addr().String()
}

// sendSum answers the end of its input with the input's checksum.
func sendSum(c *net.TCPConn) {
	h := sha256.New()
	if _, err := io.Copy(h, c); err == nil {
		fmt.Fprintf(c, "%x\n", h.Sum(nil))
	}
}

// readLate ends first and then reads slowly to the end.
func (s *targets) readLate(c *net.TCPConn) {
	c.CloseWrite()
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		s.late.Add(int64(n))
		if err != nil {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

func (s *targets) cmdTook(ts *testscript.TestScript, neg bool, args []string) {
	eventually(ts, "the late target has not read "+args[0], func() bool {
		return strconv.FormatInt(s.late.Load(), 10) == args[0]
	})
}

// tick sends a line now and then, forever.
func tick(c *net.TCPConn) {
	line := bytes.Repeat([]byte("tick"), 1000)
	line[len(line)-1] = '\n'
	for {
		if _, err := c.Write(line); err != nil {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}
