//go:build linux

package natlab

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestCommand(t *testing.T) {
	Require(t)
	lab := newLab(t, Config{})
	ctx := context.Background()
	out, err := lab.A.Command(ctx, "cat", "/proc/self/net/fib_trie").Output()
	if err != nil || !strings.Contains(string(out), lab.A.Addr().String()) {
		t.Errorf("%s, %v", out, err)
	}
	_, err = lab.A.Command(ctx, "sh", "-c", "echo bad >&2; exit 3").Output()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 || string(exit.Stderr) != "bad\n" {
		t.Errorf("Output: %v", err)
	}
	out, err = lab.A.Command(ctx, "sh", "-c", "echo one; echo two >&2").CombinedOutput()
	if err != nil || string(out) != "one\ntwo\n" {
		t.Errorf("CombinedOutput: %q, %v", out, err)
	}
	if err := lab.A.Command(ctx, "/nonexistent").Run(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Run: %v", err)
	}
}

func TestCommandContext(t *testing.T) {
	Require(t)
	lab := newLab(t, Config{})
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := lab.A.Command(ctx, "sleep", "60").Run(); err == nil || time.Since(start) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
}

// TestCommandOutlivesItsGoroutine guards against forking on a thread that ends: the child would be killed with it.
func TestCommandOutlivesItsGoroutine(t *testing.T) {
	Require(t)
	lab := newLab(t, Config{})
	c := lab.A.Command(context.Background(), "sleep", "60")
	started := make(chan error)
	go func() { started <- c.Start() }()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	lab.A.Do(func() error { return nil })
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
}

// TestCloseKillsGrandchildren has a child leave a process of its own behind.
func TestCloseKillsGrandchildren(t *testing.T) {
	Require(t)
	lab := newLab(t, Config{})
	file := filepath.Join(t.TempDir(), "pid")
	script := "sleep 60 >/dev/null 2>&1 & echo $! >" + file
	if err := lab.A.Command(context.Background(), "sh", "-c", script).Run(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if !running(pid) {
		t.Fatal("the grandchild does not run")
	}
	lab.Close()
	waitFor(t, "the grandchild's end", func() bool { return !running(pid) })
}

// running is false for a zombie, too: who reaps orphans is the machine's business.
func running(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !strings.Contains(string(stat), ") Z ")
}
