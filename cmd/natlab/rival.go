package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/peerd/peerd/punch/natlab"
)

// rival is another process on a host that wants a port that somebody has. It is
// the one that `peerd sockets` starts, and speaks its language (package
// punch/reuse/survey): one order a line, one answer each.
type rival struct {
	cmd     *natlab.Cmd
	orders  io.WriteCloser
	answers *bufio.Scanner
}

// startRival starts one. It lives until stop, or until the lab is closed.
func (w *world) startRival(ctx context.Context, h *natlab.Host) (*rival, error) {
	r := &rival{cmd: w.command(ctx, h, "rival", "sockets", "rival")}
	r.cmd.Stderr = os.Stderr
	var err error
	if r.orders, err = r.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	r.answers = bufio.NewScanner(out)
	return r, r.cmd.Start()
}

// ask gives an order and returns the answer; ok says that it was carried out.
func (r *rival) ask(order string) (answer string, ok bool, err error) {
	if _, err := fmt.Fprintln(r.orders, order); err != nil {
		return "", false, fmt.Errorf("the rival: %w", err)
	}
	if !r.answers.Scan() {
		return "", false, fmt.Errorf("the rival has ended at %q: %v", order, r.answers.Err())
	}
	answer, ok = strings.CutPrefix(r.answers.Text(), "ok")
	return strings.TrimSpace(answer), ok, nil
}

// Options of the rival's sockets.
const (
	rivalPlain  = 0
	rivalShares = 3 // SO_REUSEADDR and SO_REUSEPORT
)

// listen has it listen on all addresses; refusal is what the system says if it
// does not let it.
func (r *rival) listen(port uint16, options int) (refusal string, err error) {
	answer, ok, err := r.ask(fmt.Sprintf("listen %d %d", port, options))
	if err != nil || ok {
		return "", err
	}
	return answer, nil
}

// accepted is how many connections it has got since it was asked last.
func (r *rival) accepted() (n int, err error) {
	answer, ok, err := r.ask("accepted")
	switch {
	case err != nil:
		return 0, err
	case !ok:
		return 0, fmt.Errorf("the rival does not count its connections: %s", answer)
	case answer == "":
		return 0, nil
	}
	return strconv.Atoi(answer)
}

func (r *rival) stop() error {
	r.orders.Close()
	return r.cmd.Wait()
}
