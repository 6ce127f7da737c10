package wine

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/peerd/peerd/punch/natlab"
)

// machine is where peerd runs: this system, or Wine, on this host or on one of
// a lab.
type machine struct {
	dir     string   // of its states; what runs there has this directory
	program []string // peerd's
	env     []string
	mode    string       // what a node's log says of it
	host    *natlab.Host // nil is this host
}

// here runs the program for this system.
func (p *programs) here(t *testing.T) *machine {
	return &machine{dir: t.TempDir(), program: []string{p.native}, env: clean(os.Environ()),
		mode: `msg="local port" port=\d+ mode=shared`}
}

// under runs the Windows program.
func (p *programs) under(t *testing.T, w *prefix) *machine {
	return &machine{dir: t.TempDir(), program: []string{"wine", p.windows}, env: w.env(),
		mode: `msg="the local port is not shared" port=\d+ mode=dial-only reason="a dial from the listener's port: bind: Access denied\."`}
}

// on is the machine as a host of a lab.
func (m *machine) on(h *natlab.Host) *machine {
	moved := *m
	moved.host = h
	return &moved
}

// process is a peerd.
type process struct {
	*exec.Cmd
	start, wait func() error
	ended       bool
}

// command prepares peerd with a state of its own.
func (m *machine) command(state string, args ...string) *process {
	args = append(append(m.program[1:len(m.program):len(m.program)], "--state-dir", state), args...)
	p := &process{}
	if m.host != nil {
		c := m.host.Command(context.Background(), m.program[0], args...)
		p.Cmd, p.start, p.wait = c.Cmd, c.Start, c.Wait
	} else {
		p.Cmd = exec.Command(m.program[0], args...)
		p.start, p.wait = p.Cmd.Start, p.Cmd.Wait
	}
	p.Dir, p.Env = m.dir, m.env
	return p
}

// launch starts it and sees to its end.
func (p *process) launch(t *testing.T) {
	t.Helper()
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !p.ended {
			p.Process.Kill()
			p.wait()
		}
	})
}

// end sends a signal, if it is not nil, and waits; it returns the exit code, or
// -1 if a signal ended it.
func (p *process) end(t *testing.T, signal os.Signal) int {
	t.Helper()
	if signal != nil {
		if err := p.Process.Signal(signal); err != nil {
			t.Fatal(err)
		}
	}
	late := time.AfterFunc(patience, func() { p.Process.Kill() })
	defer late.Stop()
	p.wait()
	p.ended = true
	return p.ProcessState.ExitCode()
}

// background is a peerd that goes on, with its output in files: a pipe would
// also be open in the services that Wine starts with its first program.
type background struct {
	*process
	stdout, stderr string
}

// begin runs peerd in the background.
func (m *machine) begin(t *testing.T, state string, args ...string) *background {
	t.Helper()
	return m.feed(t, nil, state, args...)
}

// feed is begin with a standard input.
func (m *machine) feed(t *testing.T, input []byte, state string, args ...string) *background {
	t.Helper()
	out, errs := create(t, m.dir), create(t, m.dir)
	defer out.Close()
	defer errs.Close()
	b := &background{m.command(state, args...), out.Name(), errs.Name()}
	b.Stdin, b.Stdout, b.Stderr = bytes.NewReader(input), out, errs
	b.launch(t)
	return b
}

func create(t *testing.T, dir string) *os.File {
	t.Helper()
	f, err := os.CreateTemp(dir, "output")
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// answer runs peerd to its end and returns what it prints.
func (m *machine) answer(t *testing.T, input []byte, state string, args ...string) []byte {
	t.Helper()
	b := m.feed(t, input, state, args...)
	code := b.end(t, nil)
	out, err := os.ReadFile(b.stdout)
	if log, _ := os.ReadFile(b.stderr); code != 0 || err != nil {
		t.Fatalf("peerd %q: exit code %d, %v\n%s", args, code, err, log)
	}
	return out
}

// id returns that of a state, which is made if need be.
func (m *machine) id(t *testing.T, state string) string {
	t.Helper()
	return strings.TrimSpace(string(m.answer(t, nil, state, "id")))
}

// says waits until standard output, or with log standard error, has what a
// pattern matches, and returns that, or its group.
func (b *background) says(t *testing.T, log bool, pattern string) string {
	t.Helper()
	path := b.stdout
	if log {
		path = b.stderr
	}
	want := regexp.MustCompile("(?m)" + pattern)
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		data, _ := os.ReadFile(path)
		if found := want.FindSubmatch(data); found != nil {
			return string(found[len(found)-1])
		}
	}
	out, _ := os.ReadFile(b.stdout)
	errs, _ := os.ReadFile(b.stderr)
	t.Fatalf("no %s in\n%s\n%s", pattern, out, errs)
	return ""
}
