package wine

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
func (m *machine) command(t *testing.T, state string, args ...string) *process {
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

// answer runs peerd to its end and returns what it prints.
func (m *machine) answer(t *testing.T, input []byte, state string, args ...string) []byte {
	t.Helper()
	p := m.command(t, state, args...)
	var stdout, stderr bytes.Buffer
	p.Stdin, p.Stdout, p.Stderr = bytes.NewReader(input), &stdout, &stderr
	p.launch(t)
	if code := p.end(t, nil); code != 0 {
		t.Fatalf("peerd %q: exit code %d\n%s", args, code, &stderr)
	}
	return stdout.Bytes()
}

// background is a peerd that goes on, with its output in files.
type background struct {
	*process
	stdout, stderr string
}

// begin runs peerd in the background.
func (m *machine) begin(t *testing.T, state string, args ...string) *background {
	t.Helper()
	b := &background{process: m.command(t, state, args...)}
	b.stdout, b.stderr = filepath.Join(m.dir, state+".out"), filepath.Join(m.dir, state+".err")
	out, errs := create(t, b.stdout), create(t, b.stderr)
	defer out.Close()
	defer errs.Close()
	b.Stdout, b.Stderr = out, errs
	b.launch(t)
	return b
}

func create(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	return f
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
