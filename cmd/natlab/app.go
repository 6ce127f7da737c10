package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// An application is one end of one plain TCP connection, and knows nothing of
// peerd. It does what it is told by JSON lines, and says by JSON lines what it
// sees, as the kernel tells it. It is this program started again inside a host of
// the lab: whoever wants to know what becomes of a connection whose application
// dies can kill it.

// appOrder is what an application is told.
type appOrder struct {
	// Op is send, limit, peek, end, leave, close or reset.
	//
	// send writes Bytes of the application's own byte sequence, 0 without end.
	// limit has no more than Bytes read, 0 as many as come; peek waits until more
	// are there. end is a half-close and leave its opposite, to read no more;
	// close is what a program does that is done, reset a close with a RST.
	Op    string
	Bytes int64
}

// appReport is what an application says.
type appReport struct {
	// Event is listening, open, told (the limit), limited (as much is read as may
	// be), unread (there is more), wrote (all that it was told to, or what it
	// could) or read (to the end).
	Event string
	Bytes int64  // wrote, read
	Right bool   // read: the bytes are those that the other application writes
	How   string // wrote, read: how it ended; empty if all was written
}

// The ways in which a connection ends for an application.
const (
	endEOF    = "EOF"
	endReset  = "reset"       // ECONNRESET
	endPipe   = "broken pipe" // EPIPE: a reset after the other side's end
	endClosed = "closed"      // by the application itself
)

// howEnded names the error of a read or write.
func howEnded(err error) string {
	switch {
	case err == io.EOF:
		return endEOF
	case errors.Is(err, syscall.ECONNRESET):
		return endReset
	case errors.Is(err, syscall.EPIPE):
		return endPipe
	case errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
		return endClosed
	}
	return err.Error()
}

// appSequence is what an application writes: the listening one another than the
// dialling one.
func appSequence(listens bool) io.Reader {
	seed := [32]byte{1}
	if listens {
		seed[0] = 2
	}
	return rand.NewChaCha8(seed)
}

// appConn is what an application has instead of a connection, or that.
type appConn interface {
	io.ReadWriteCloser
	CloseRead() error
	CloseWrite() error
	SetWriteDeadline(time.Time) error
}

// app is the state of an application.
type app struct {
	conn    appConn
	listens bool

	out sync.Mutex
	enc *json.Encoder

	mu      sync.Mutex
	changed *sync.Cond
	limit   int64 // that may be read; 0 is none

	write sync.WaitGroup
}

// runApp dials or listens at an address, for one connection, and obeys until the
// orders end.
func runApp(how, addr string, in io.Reader, out io.Writer) error {
	a := newApp(how == "listen", out)
	conn, err := a.connect(addr)
	if err != nil {
		return err
	}
	return a.run(conn, in)
}

func newApp(listens bool, out io.Writer) *app {
	a := &app{listens: listens, enc: json.NewEncoder(out)}
	a.changed = sync.NewCond(&a.mu)
	return a
}

func (a *app) connect(addr string) (appConn, error) {
	if !a.listens {
		c, err := net.Dial("tcp4", addr)
		if err != nil {
			return nil, err
		}
		return c.(*net.TCPConn), nil
	}
	l, err := net.Listen("tcp4", addr)
	if err != nil {
		return nil, err
	}
	defer l.Close()
	a.say(appReport{Event: "listening"})
	c, err := l.Accept()
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// run obeys until the orders end.
func (a *app) run(conn appConn, in io.Reader) error {
	a.conn = conn
	a.say(appReport{Event: "open"})
	go a.readAll()      // to the end of the connection
	defer a.setLimit(0) // nobody will say so any more
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		var o appOrder
		if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
			return err
		}
		if err := a.obey(o); err != nil {
			return err
		}
	}
	return lines.Err()
}

func (a *app) say(r appReport) {
	a.out.Lock()
	defer a.out.Unlock()
	a.enc.Encode(r)
}

func (a *app) obey(o appOrder) error {
	switch o.Op {
	case "send":
		a.write.Go(func() { a.send(o.Bytes) })
	case "limit":
		a.setLimit(o.Bytes)
		a.say(appReport{Event: "told"})
	case "peek":
		return a.peek()
	case "leave":
		return a.conn.CloseRead()
	case "end":
		a.stopWriting()
		return a.conn.CloseWrite()
	case "close":
		a.stopWriting()
		return a.conn.Close()
	case "reset":
		a.conn.(*net.TCPConn).SetLinger(0)
		return a.conn.Close()
	default:
		return fmt.Errorf("no order is called %q", o.Op)
	}
	return nil
}

// setLimit sets the limit.
func (a *app) setLimit(limit int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.limit = limit
	a.changed.Broadcast()
}

// peek waits until there is something unread: that decides what the kernel makes
// of a process that is killed. It does not matter to a pipe.
func (a *app) peek() error {
	if conn, ok := a.conn.(*net.TCPConn); ok {
		if err := awaitUnread(conn); err != nil {
			return err
		}
	}
	a.say(appReport{Event: "unread"})
	return nil
}

// stopWriting cuts a write off that is under way. What the kernel has taken is
// still sent.
func (a *app) stopWriting() {
	a.conn.SetWriteDeadline(time.Unix(1, 0))
	a.write.Wait()
}

// send writes until all is written or nobody takes it.
func (a *app) send(size int64) {
	source := appSequence(a.listens)
	if size > 0 {
		source = io.LimitReader(source, size)
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{a.conn}, struct{ io.Reader }{source}, make([]byte, 32<<10))
	r := appReport{Event: "wrote", Bytes: n}
	if err != nil {
		r.How = howEnded(err)
	}
	a.say(r)
}

// readAll reads to the end, as far as it may, and compares.
func (a *app) readAll() {
	r := appReport{Event: "read", Right: true}
	want := appSequence(!a.listens)
	got, should := make([]byte, 32<<10), make([]byte, 32<<10)
	for {
		n, err := a.conn.Read(got[:a.mayRead(r.Bytes, len(got))])
		want.Read(should[:n])
		r.Bytes += int64(n)
		r.Right = r.Right && string(got[:n]) == string(should[:n])
		if err != nil {
			r.How = howEnded(err)
			a.say(r)
			return
		}
	}
}

// mayRead waits until more than has been read may be, and returns how much.
func (a *app) mayRead(read int64, most int) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	for told := false; a.limit > 0 && read >= a.limit; a.changed.Wait() {
		if !told {
			told = true
			a.say(appReport{Event: "limited"})
		}
	}
	if a.limit > 0 {
		return int(min(int64(most), a.limit-read))
	}
	return most
}

// appArg starts the program as an application.
const appArg = "app"
