package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/peerd/peerd/punch/natlab"
)

// application speaks to one application (see app.go).
type application struct {
	where string
	cmd   *natlab.Cmd // nil if it is no process of its own
	in    io.Writer

	mu      sync.Mutex
	seen    map[string]appReport // the last report of each kind
	dead    bool
	changed chan struct{} // closed and replaced when something was seen
}

func newApplication(where string) *application {
	return &application{where: where, seen: map[string]appReport{}, changed: make(chan struct{})}
}

// startApp starts an application on a host: "dial" or "listen" at an address. It
// lives until it is killed, or the lab is closed.
func startApp(h *natlab.Host, how, addr string) (*application, error) {
	a := newApplication(h.Name())
	a.cmd = h.Command(context.Background(), executable(), appArg, how, addr)
	a.cmd.Env = append(os.Environ(), agentEnv+"=1")
	a.cmd.Stderr = os.Stderr
	in, err := a.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := a.cmd.Start(); err != nil {
		return nil, err
	}
	a.in = in
	go a.listen(out) // until the process ends
	return a, nil
}

// pipeApp is an application inside this process, for a command's standard input
// and output. It lives until both are closed and it is killed.
func pipeApp(where string, conn appConn) *application {
	a := newApplication(where)
	orders, in := io.Pipe()
	reports, out := io.Pipe()
	a.in = in
	go a.listen(reports)
	go func() {
		newApp(false, out).run(conn, orders)
		out.Close()
	}()
	return a
}

func (a *application) listen(out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var r appReport
		if json.Unmarshal(lines.Bytes(), &r) == nil {
			a.note(func() { a.seen[r.Event] = r })
		}
	}
	a.note(func() { a.dead = true })
}

// note changes what is known of the application and wakes who waits for it.
func (a *application) note(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
	close(a.changed)
	a.changed = make(chan struct{})
}

// await returns the report of a kind, once there is one.
func (a *application) await(ctx context.Context, event string) (appReport, error) {
	for {
		a.mu.Lock()
		r, ok := a.seen[event]
		dead, changed := a.dead, a.changed
		a.mu.Unlock()
		switch {
		case ok:
			return r, nil
		case dead:
			return r, fmt.Errorf("the application on %s has died instead of reporting %q", a.where, event)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return r, fmt.Errorf("the application on %s has not reported %q: %w", a.where, event, context.Cause(ctx))
		}
	}
}

func (a *application) order(op string, bytes int64) error {
	return json.NewEncoder(a.in).Encode(appOrder{Op: op, Bytes: bytes})
}

// kill ends the process as kill -9 does, and waits for it. One that is no process
// gets no more orders.
func (a *application) kill() error {
	if a.cmd == nil {
		return a.in.(io.Closer).Close()
	}
	if err := a.cmd.Process.Kill(); err != nil {
		return err
	}
	a.cmd.Wait() // it says "killed"
	return nil
}
