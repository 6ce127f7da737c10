package natlab

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Cmd is an [exec.Cmd] whose process runs inside a host. It is killed when the lab is closed, and when this process dies.
type Cmd struct {
	*exec.Cmd
	// Filter is to be set before Start.
	Filter Filter

	host  *Host
	wait  func() error
	ended chan struct{} // closed when the process has ended
}

// Command prepares a process inside the host. It is killed when ctx ends before it does.
func (h *Host) Command(ctx context.Context, name string, arg ...string) *Cmd {
	c := &Cmd{Cmd: exec.CommandContext(ctx, name, arg...), host: h, ended: make(chan struct{})}
	c.wait = sync.OnceValue(func() error {
		defer close(c.ended)
		err := c.Cmd.Wait()
		release(h, &h.commands, c)
		return err
	})
	return c
}

// Start is [exec.Cmd.Start] inside the host.
func (c *Cmd) Start() error {
	if c.SysProcAttr == nil {
		c.SysProcAttr = &syscall.SysProcAttr{}
	}
	c.SysProcAttr.Pdeathsig = syscall.SIGKILL
	start := c.host.ns.run
	if c.Filter != NoFilter {
		start = c.filtered
	}
	if err := start(c.Cmd.Start); err != nil {
		return err
	}
	if err := adopt(c.host, &c.host.commands, c); err != nil {
		c.Process.Kill()
		c.wait()
		return err
	}
	return nil
}

// filtered calls start on a thread of its own inside the host and under the filter. The thread stays as long as the process,
// which would get the signal of its parent's death otherwise.
func (c *Cmd) filtered(start func() error) error {
	started := make(chan error)
	onThread(func() {
		err := c.host.ns.enter()
		if err == nil {
			err = c.Filter.install()
		}
		if err == nil {
			err = start()
		}
		started <- err
		if err == nil {
			<-c.ended
		}
	})
	return <-started
}

// Wait is [exec.Cmd.Wait], but may be called more than once and by several goroutines.
func (c *Cmd) Wait() error {
	if c.Process == nil {
		return c.Cmd.Wait()
	}
	return c.wait()
}

// Run is [exec.Cmd.Run] inside the host.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output is [exec.Cmd.Output] inside the host.
func (c *Cmd) Output() ([]byte, error) {
	if c.Stdout != nil {
		return nil, errUsed
	}
	var stdout, stderr bytes.Buffer
	c.Stdout = &stdout
	quiet := c.Stderr == nil
	if quiet {
		c.Stderr = &stderr
	}
	err := c.Run()
	var exit *exec.ExitError
	if quiet && errors.As(err, &exit) {
		exit.Stderr = stderr.Bytes()
	}
	return stdout.Bytes(), err
}

// CombinedOutput is [exec.Cmd.CombinedOutput] inside the host.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	if c.Stdout != nil || c.Stderr != nil {
		return nil, errUsed
	}
	var b bytes.Buffer
	c.Stdout, c.Stderr = &b, &b
	err := c.Run()
	return b.Bytes(), err
}

// killAll kills the processes that are left in a namespace, such as children of our children. This process is never among
// them: its main thread stays out of namespaces (see onThread).
func killAll(n *namespace) {
	self, err := os.Stat("/proc/self/fd/" + strconv.Itoa(int(n.file.Fd())))
	if err != nil {
		return
	}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		if ns, err := os.Stat("/proc/" + e.Name() + "/ns/net"); err == nil && os.SameFile(ns, self) {
			unix.Kill(pid, unix.SIGKILL)
		}
	}
}
