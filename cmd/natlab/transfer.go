package main

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/peerd/peerd/punch/natlab"
)

const (
	transferSize = 200 << 20 // bytes in each direction
	transferRTT  = 2 * time.Millisecond
	transferRuns = 20

	// transfersName is what --only knows the transfers by.
	transfersName = "transfers"
)

// transferResult is one transfer with the real peerd.
type transferResult struct {
	A       string  `json:"a"`
	B       string  `json:"b"`
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"`
}

// transfers moves a file both ways at once through pairs of NATs, with peerd
// serve, run and nc as processes of their own.
func (p *proof) transfers(ctx context.Context, g ground, progress io.Writer) ([]transferResult, error) {
	if !p.wanted.MatchString(transfersName) {
		return nil, nil
	}
	var results []transferResult
	for n := range transferRuns {
		a := pairProfiles[n%len(pairProfiles)]
		b := pairProfiles[(n+n/len(pairProfiles))%len(pairProfiles)]
		began := time.Now()
		err := transfer(ctx, g.peerd, filepath.Join(g.dir, fmt.Sprint(n)), cell{A: a, B: b, RTT: transferRTT}, transferSize)
		r := transferResult{A: a, B: b, Seconds: time.Since(began).Seconds()}
		if err != nil {
			r.Error = err.Error()
		}
		fmt.Fprintf(progress, "transfer %d/%d %s × %s: %.1f s %s\n", n+1, transferRuns, a, b, r.Seconds, r.Error)
		results = append(results, r)
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	return results, nil
}

// build builds one of the module's programs from the checkout that this runs in.
func build(ctx context.Context, dir, name string) (string, error) {
	path := filepath.Join(dir, name)
	out, err := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/peerd/peerd/cmd/"+name).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("building %s: %w: %s", name, err, out)
	}
	return path, nil
}

// world is a lab with the real peerd on all three hosts.
type world struct {
	lab        *natlab.Lab
	peerd, dir string
	url, peer  string      // of the server; ID of B
	serves     *natlab.Cmd // peerd serve
	runs       *natlab.Cmd // peerd run on B
	runsSaid   *sayings
}

// newWorld starts peerd serve and peerd run, which exposes NAME=ADDR… to A.
func newWorld(ctx context.Context, peerd, dir string, c cell, expose ...string) (*world, error) {
	w, err := newServedWorld(ctx, peerd, dir, c)
	if err != nil {
		return nil, err
	}
	if err := w.expose(ctx, expose); err != nil {
		w.lab.Close()
		return nil, err
	}
	return w, nil
}

// newServedWorld starts peerd serve and nothing else.
func newServedWorld(ctx context.Context, peerd, dir string, c cell) (w *world, err error) {
	w = &world{peerd: peerd, dir: dir}
	if w.lab, err = c.lab(0); err != nil {
		return nil, err
	}
	if err := w.serve(ctx); err != nil {
		w.lab.Close()
		return nil, err
	}
	return w, nil
}

// serve starts peerd serve.
func (w *world) serve(ctx context.Context) (err error) {
	w.serves = w.command(ctx, w.lab.Server, "server", "serve", "--public-addr", w.lab.Server.Addr().String())
	w.url, _, err = ready(w.serves)
	return err
}

// expose starts peerd run on B, for A.
func (w *world) expose(ctx context.Context, expose []string) error {
	id, err := w.id(ctx, w.lab.A, "a")
	if err != nil {
		return err
	}
	args := []string{"run", "--allow", id}
	for _, e := range expose {
		args = append(args, "--expose", e)
	}
	w.runs = w.command(ctx, w.lab.B, "b", args...)
	w.peer, w.runsSaid, err = ready(w.runs)
	return err
}

// configure writes a file of a state directory's configuration.
func (w *world) configure(state, name, text string) error {
	dir := filepath.Join(w.dir, state, "peerd") // below XDG_CONFIG_HOME
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)
}

// id is the peer ID of a state directory.
func (w *world) id(ctx context.Context, h *natlab.Host, state string) (string, error) {
	id, err := w.command(ctx, h, state, "id").Output()
	if err != nil {
		return "", fmt.Errorf("peerd id: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
}

// command prepares peerd on a host with a state directory of its own.
func (w *world) command(ctx context.Context, h *natlab.Host, state string, args ...string) *natlab.Cmd {
	return w.program(ctx, h, state, w.peerd, args...)
}

// program prepares a program that finds peerd in its PATH, and the environment
// that peerd wants: the user's own settings are not of this world.
func (w *world) program(ctx context.Context, h *natlab.Host, state, name string, args ...string) *natlab.Cmd {
	cmd := h.Command(ctx, name, args...)
	cmd.Env = append(os.Environ(), "PEERD_STATE_DIR="+filepath.Join(w.dir, state), "PEERD_SERVER="+w.url,
		"PEERD_CONFIG=", "XDG_CONFIG_HOME="+filepath.Join(w.dir, state),
		"PATH="+filepath.Dir(w.peerd)+string(os.PathListSeparator)+os.Getenv("PATH"))
	cmd.WaitDelay = killDelay // for what a program leaves behind with its output open
	return cmd
}

// ready starts a command and returns its ready line, and what it says besides.
func ready(cmd *natlab.Cmd) (line string, said *sayings, err error) {
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	said = newSayings()
	cmd.Stderr = said
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	line, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		cmd.Wait()
		return "", nil, fmt.Errorf("%s: no ready line: %s", strings.Join(cmd.Args[1:], " "), said)
	}
	return strings.TrimSpace(line), said, nil
}

// transfer sends size bytes each way at once and compares the hashes.
func transfer(ctx context.Context, peerd, dir string, c cell, size int64) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	w, err := newWorld(ctx, peerd, dir, c, "file=127.0.0.1:9000")
	if err != nil {
		return err
	}
	defer w.lab.Close()
	l, err := w.lab.B.Listen("127.0.0.1:9000")
	if err != nil {
		return err
	}
	defer l.Close()
	var far exchange
	var wg sync.WaitGroup
	wg.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			far.err = err
			return
		}
		defer conn.Close()
		far.run(conn, conn, conn.(*net.TCPConn).CloseWrite, 2, size)
	})
	near, err := w.nc(ctx, size)
	l.Close()
	wg.Wait()
	return errors.Join(err, far.err, compare(near, &far))
}

// exchange is what one end sent and received.
type exchange struct {
	sent, received [sha256.Size]byte
	got            int64
	err            error
}

// run sends size pseudo-random bytes and reads to the end, at once.
func (e *exchange) run(r io.Reader, w io.Writer, closeWrite func() error, seed byte, size int64) {
	var wg sync.WaitGroup
	var sendErr error
	wg.Go(func() {
		hash := sha256.New()
		source := io.LimitReader(rand.NewChaCha8([32]byte{seed}), size)
		_, err := io.CopyBuffer(io.MultiWriter(w, hash), source, make([]byte, 256<<10))
		sendErr = errors.Join(err, closeWrite())
		hash.Sum(e.sent[:0])
	})
	hash := sha256.New()
	got, err := io.CopyBuffer(hash, struct{ io.Reader }{r}, make([]byte, 256<<10))
	hash.Sum(e.received[:0])
	wg.Wait()
	e.got, e.err = got, errors.Join(err, sendErr)
}

// nc runs peerd nc on A.
func (w *world) nc(ctx context.Context, size int64) (*exchange, error) {
	cmd := w.command(ctx, w.lab.A, "a", "nc", w.peer, "file")
	var complaint strings.Builder
	cmd.Stderr = &complaint
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var near exchange
	near.run(out, in, in.Close, 1, size)
	if err := cmd.Wait(); err != nil {
		return nil, fmt.Errorf("peerd nc: %w: %s", err, complaint.String())
	}
	return &near, near.err
}

func compare(near, far *exchange) error {
	switch {
	case near == nil:
		return nil // failed already
	case near.sent != far.received:
		return fmt.Errorf("what was sent from A is not what arrived: %d bytes", far.got)
	case far.sent != near.received:
		return fmt.Errorf("what was sent from B is not what arrived: %d bytes", near.got)
	}
	return nil
}
