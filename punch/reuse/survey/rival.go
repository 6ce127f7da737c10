package survey

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// Rival is the other process: it listens where it is told to on in, one command
// a line, and answers each with a line on out, until in ends.
//
//	other                   become a user that is nobody else here
//	listen PORT OPTIONS     as a number
//	accepted                how many connections came since last asked
//	close                   the listener
func Rival(in io.Reader, out io.Writer) error {
	h, err := Open()
	if err != nil {
		return err
	}
	r := &rival{bench: &bench{host: h}}
	defer r.bench.close()
	for lines := bufio.NewScanner(in); lines.Scan(); {
		answer := "ok"
		if n, err := r.obey(lines.Text()); err != nil {
			answer = err.Error()
		} else if n > 0 {
			answer = fmt.Sprint("ok ", n)
		}
		if _, err := fmt.Fprintln(out, answer); err != nil {
			return err
		}
	}
	return nil
}

type rival struct {
	bench    *bench
	listener socket
}

func (r *rival) obey(command string) (n int, err error) {
	word, arguments, _ := strings.Cut(command, " ")
	switch word {
	case "other":
		return 0, becomeOther()
	case "listen":
		var options Options
		if _, err := fmt.Sscan(arguments, &r.bench.number, &options); err != nil {
			return 0, err
		}
		r.listener, err = r.bench.listening(Wild4, options&Both)
		return 0, err
	case "accepted":
		return r.bench.acceptAll(r.listener)
	case "close":
		r.bench.close()
		return 0, nil
	}
	return 0, fmt.Errorf("no command: %q", command)
}

// process is a rival that runs.
type process struct {
	cmd     *exec.Cmd
	orders  io.WriteCloser
	answers *bufio.Scanner
}

// startRival starts the other process. It has to be stopped.
func (q *inquiry) startRival() (*process, error) {
	cmd := q.rival(q.ctx)
	orders, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	answers, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting a second process: %w", err)
	}
	return &process{cmd, orders, bufio.NewScanner(answers)}, nil
}

// stop ends the process.
func (p *process) stop() error {
	p.orders.Close()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("the second process: %w", err)
	}
	return nil
}

// ask returns the number in the answer to an order.
func (p *process) ask(format string, args ...any) (n int, err error) {
	if _, err := fmt.Fprintf(p.orders, format+"\n", args...); err != nil {
		return 0, fmt.Errorf("the second process: %w", err)
	}
	if !p.answers.Scan() {
		return 0, fmt.Errorf("the second process ended early: %w", cmp.Or(p.answers.Err(), io.EOF))
	}
	answer, ok := strings.CutPrefix(p.answers.Text(), "ok")
	if !ok {
		return 0, &refusal{p.answers.Text()}
	}
	if answer != "" {
		_, err = fmt.Sscan(answer, &n)
	}
	return n, err
}

// refusal is what the rival could not do.
type refusal struct{ text string }

// Error returns, for instance, "bind EADDRINUSE".
func (r *refusal) Error() string { return r.text }
