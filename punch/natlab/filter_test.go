//go:build linux

package natlab

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// helperEnv has this test program do something else than its tests: it names one of the helpers.
const helperEnv = "PEERD_NATLAB_HELPER"

var helpers = map[string]func() error{"sockets": lookAtSockets, "orphan": orphan}

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

// sight is what a process sees of the options; "" is success.
type sight struct {
	Set     [2]string // SO_REUSEADDR, SO_REUSEPORT
	Value   [2]int    // what they are then
	Pin     string    // SO_ATTACH_REUSEPORT_CBPF
	Listen  string    // bind and listen where another socket is bound, with both options on each
	Share   string    // bind a third socket beside the two
	Segment int       // TCP_MAXSEG, set to 1000: its number is that of SO_REUSEADDR
	NoPrivs bool
}

// lookAtSockets prints a sight.
func lookAtSockets() error {
	var s sight
	options := [2]int{unix.SO_REUSEADDR, unix.SO_REUSEPORT}
	first, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	for i, o := range options {
		s.Set[i] = errnoName(unix.SetsockoptInt(first, unix.SOL_SOCKET, o, 1))
		s.Value[i], _ = unix.GetsockoptInt(first, unix.SOL_SOCKET, o)
	}
	pass := unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K}
	s.Pin = errnoName(unix.SetsockoptSockFprog(first, unix.SOL_SOCKET, unix.SO_ATTACH_REUSEPORT_CBPF, &unix.SockFprog{Len: 1, Filter: &pass}))
	unix.SetsockoptInt(first, unix.IPPROTO_TCP, unix.TCP_MAXSEG, 1000)
	s.Segment, _ = unix.GetsockoptInt(first, unix.IPPROTO_TCP, unix.TCP_MAXSEG)
	if err := unix.Bind(first, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return err
	}
	at, err := unix.Getsockname(first)
	if err != nil {
		return err
	}
	s.Share = bindBeside(at, false)
	s.Listen = bindBeside(at, true)
	status, err := os.ReadFile("/proc/thread-self/status")
	s.NoPrivs = strings.Contains(string(status), "NoNewPrivs:\t1\n")
	return errors.Join(err, json.NewEncoder(os.Stdout).Encode(s))
}

// bindBeside binds another socket to an address and, if asked to, has it listen and binds one more.
func bindBeside(at unix.Sockaddr, listen bool) string {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err.Error()
	}
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	if err := unix.Bind(fd, at); err != nil || !listen {
		return errnoName(err)
	}
	if err := unix.Listen(fd, 1); err != nil {
		return errnoName(err)
	}
	return bindBeside(at, false)
}

func errnoName(err error) string {
	var errno syscall.Errno
	switch {
	case err == nil:
		return ""
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	}
	return err.Error()
}

// self prepares a helper on a host.
func self(h *Host, helper string) *Cmd {
	c := h.Command(context.Background(), os.Args[0])
	c.Env = append(os.Environ(), helperEnv+"="+helper)
	c.Stderr = os.Stderr
	return c
}

func TestFilter(t *testing.T) {
	Require(t)
	requireFilters(t)
	lab := newLab(t, Config{})
	for f, want := range map[Filter]sight{
		NoFilter:        {Segment: 1000, Value: [2]int{1, 1}},
		DenyReusePort:   {Segment: 1000, Set: [2]string{"", "ENOPROTOOPT"}, Value: [2]int{1, 0}, Pin: "ENOPROTOOPT", Listen: "EADDRINUSE", NoPrivs: true},
		IgnoreReusePort: {Segment: 1000, Value: [2]int{1, 0}, Listen: "EADDRINUSE", NoPrivs: true},
		IgnoreReuse:     {Segment: 1000, Value: [2]int{0, 0}, Share: "EADDRINUSE", Listen: "EADDRINUSE", NoPrivs: true},
	} {
		c := self(lab.A, "sockets")
		c.Filter = f
		out, err := c.Output()
		if err != nil {
			t.Fatal(f, err)
		}
		var got sight
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("%v: %s: %v", f, out, err)
		}
		if got != want {
			t.Errorf("%v: %+v, want %+v", f, got, want)
		}
	}
}

// requireFilters skips where filters can't be had, and sees to it that this is said.
func requireFilters(t *testing.T) {
	t.Helper()
	if auditArch != 0 {
		return
	}
	if err := DenyReusePort.install(); err == nil || !strings.Contains(err.Error(), runtime.GOARCH) {
		t.Error(err)
	}
	if os.Getenv("CI") == "true" {
		t.Fatal("no seccomp filters on ", runtime.GOARCH)
	}
	t.Skip("no seccomp filters on", runtime.GOARCH)
}

// TestFilterIsInherited has the filtered process, which is on its host, start the one that looks, and this program look at itself.
func TestFilterIsInherited(t *testing.T) {
	Require(t)
	requireFilters(t)
	lab := newLab(t, Config{})
	c := lab.A.Command(context.Background(), "sh", "-c", helperEnv+`=sockets "$0"; cat /proc/self/net/fib_trie`, os.Args[0])
	c.Filter = DenyReusePort
	out, err := c.Output()
	if err != nil || !strings.Contains(string(out), "ENOPROTOOPT") || !strings.Contains(string(out), lab.A.Addr().String()) {
		t.Errorf("%s, %v", out, err)
	}
	for range 20 {
		if err := lab.A.Do(setReusePort); err != nil {
			t.Fatal("a thread of this program is filtered: ", err)
		}
		if err := setReusePort(); err != nil {
			t.Fatal("a thread of this program is filtered: ", err)
		}
	}
	if out, err := self(lab.A, "sockets").Output(); err != nil || strings.Contains(string(out), "ENOPROTOOPT") {
		t.Errorf("a command without a filter: %s, %v", out, err)
	}
}

func setReusePort() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
}

// TestFilteredCommandLives guards against a thread that ends before the process which was forked on it.
func TestFilteredCommandLives(t *testing.T) {
	Require(t)
	requireFilters(t)
	lab := newLab(t, Config{})
	c := lab.A.Command(context.Background(), "sleep", "60")
	c.Filter = IgnoreReuse
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() { ended <- c.Wait() }()
	select {
	case err := <-ended:
		t.Fatal("ended early:", err)
	case <-time.After(100 * time.Millisecond):
	}
	lab.Close()
	if err := <-ended; err == nil {
		t.Error("Close did not kill it")
	}
	if err := c.host.Command(context.Background(), "true").Run(); !errors.Is(err, errClosed) {
		t.Error(err)
	}
	late := c.host.Command(context.Background(), "true")
	late.Filter = IgnoreReuse
	if err := late.Run(); !errors.Is(err, errClosed) {
		t.Error(err)
	}
}

// TestCommandsDieWithTheProgram kills a program that has commands, with and without a filter, so that it can do nothing about them.
func TestCommandsDieWithTheProgram(t *testing.T) {
	Require(t)
	requireFilters(t)
	program := exec.Command(os.Args[0])
	program.Env = append(os.Environ(), helperEnv+"=orphan")
	program.Stderr = os.Stderr
	out, err := program.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := program.Start(); err != nil {
		t.Fatal(err)
	}
	var pids [2]int
	_, err = fmt.Fscan(bufio.NewReader(out), &pids[0], &pids[1])
	program.Process.Kill()
	program.Wait()
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		waitFor(t, "the command's end", func() bool { return !running(pid) })
	}
}

// orphan starts two commands, says their process IDs and waits to be killed.
func orphan() error {
	lab, err := New(Config{})
	if err != nil {
		return err
	}
	for _, f := range []Filter{NoFilter, DenyReusePort} {
		c := lab.A.Command(context.Background(), "sleep", "60")
		c.Filter = f
		if err := c.Start(); err != nil {
			return err
		}
		fmt.Println(c.Process.Pid)
	}
	time.Sleep(time.Minute)
	return lab.Close()
}
