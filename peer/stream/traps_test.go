package stream

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerd/peerd/proto"
)

// The traps of yamux, one test each, and what keeps peerd out of it. Each of
// these tests has been seen to fail without that.

// Trap: when the session dies, yamux lets every stream read a clean EOF.
// Remedy: only END is an end.
func TestTrapDeathReadsAsEOF(t *testing.T) {
	client, server, conns := pair(t)
	mine, theirs := open(t, client, server)
	theirs.Write([]byte("half of it"))
	io.ReadFull(mine, make([]byte, 10))
	conns[1].CloseWrite()
	if _, err := mine.Read(make([]byte, 1)); !errors.Is(err, ErrAborted) {
		t.Errorf("read: %v, want ErrAborted", err)
	}
}

// Trap: a FIN passes a window that is full: the reader gets what was in the
// window and then a clean EOF, although the writer had not finished.
// Remedy: only END is an end.
func TestTrapFINPassesFullWindow(t *testing.T) {
	client, server, _ := pair(t)
	mine, theirs := open(t, client, server)
	wrote := make(chan error, 1)
	go func() {
		_, err := theirs.Write(make([]byte, 8*usualWindow))
		wrote <- err
	}()
	await(t, "the window is full", func() bool {
		theirs.window.mu.Lock()
		defer theirs.window.mu.Unlock()
		return theirs.window.credit < 64<<10
	})
	theirs.Abort()
	if err := <-wrote; !errors.Is(err, net.ErrClosed) {
		t.Errorf("the Write that was cut off: %v", err)
	}
	if n, err := io.Copy(io.Discard, mine); !errors.Is(err, ErrAborted) {
		t.Errorf("read %d bytes, then %v, want ErrAborted", n, err)
	}
}

// Trap: yamux has no reset: the other end cannot tell a stream that was given
// up from one that has ended, and goes on writing.
// Remedy: FIN without END is an abort of both directions.
func TestTrapNoReset(t *testing.T) {
	client, server, _ := pair(t)
	mine, theirs := open(t, client, server)
	theirs.Abort()
	await(t, "writing fails", func() bool {
		_, err := mine.Write(make([]byte, 1000))
		return errors.Is(err, ErrReaderGone)
	})
	if _, err := mine.Read(make([]byte, 1)); !errors.Is(err, ErrAborted) {
		t.Errorf("read: %v, want ErrAborted", err)
	}
}

// bubble runs a test in virtual time. yamux keeps timers in a pool, which must
// neither come into the bubble nor out of it.
func bubble(t *testing.T, f func(*testing.T)) {
	emptyPools := func() {
		runtime.GC()
		runtime.GC() // the first one leaves them a second chance
	}
	emptyPools()
	defer emptyPools()
	synctest.Test(t, f)
}

// quiet returns both ends of a session in memory, for a bubble.
func quiet(t *testing.T) (client, server *Mux) {
	a, b := net.Pipe()
	client, server = Client(a, 0), Server(b, 0)
	t.Cleanup(func() { client.Close(); server.Close() })
	return client, server
}

// Trap: yamux ends a stream 5 minutes after this end has sent FIN, with a RST
// that takes what the other end has not read yet.
// Remedy: CloseWrite sends no FIN, and StreamCloseTimeout is off.
func TestTrapHalfClosedStreamsDie(t *testing.T) {
	bubble(t, func(t *testing.T) {
		client, server := quiet(t)
		a, b := open(t, client, server)
		a.CloseWrite()
		c, d := open(t, client, server)
		c.Write([]byte("kept"))
		c.Close()
		time.Sleep(10 * time.Minute)
		if _, err := b.Write([]byte("late")); err != nil {
			t.Fatalf("write on a half-closed stream: %v", err)
		}
		b.CloseWrite()
		if got, err := io.ReadAll(a); string(got) != "late" || err != nil {
			t.Errorf("half-closed: read %q, %v", got, err)
		}
		if got, err := io.ReadAll(d); string(got) != "kept" || err != nil {
			t.Errorf("closed: read %q, %v", got, err)
		}
	})
}

// valve is a connection whose writes can be made to stall.
type valve struct {
	net.Conn
	mu     sync.Mutex
	open   chan struct{} // closed while writes pass
	closed chan struct{}
	once   sync.Once
}

func newValve(c net.Conn) *valve {
	v := &valve{Conn: c, open: make(chan struct{}), closed: make(chan struct{})}
	close(v.open)
	return v
}

func (v *valve) stall() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.open = make(chan struct{})
}

func (v *valve) resume() {
	v.mu.Lock()
	defer v.mu.Unlock()
	close(v.open)
}

func (v *valve) Write(b []byte) (int, error) {
	v.mu.Lock()
	open := v.open
	v.mu.Unlock()
	select {
	case <-open:
		return v.Conn.Write(b)
	case <-v.closed:
		return 0, net.ErrClosed
	}
}

func (v *valve) Close() error {
	v.once.Do(func() { close(v.closed) })
	return v.Conn.Close()
}

// stallable returns a stream, and the valve that its client's end writes
// through.
func stallable(t *testing.T) (client, server *Mux, mine, theirs *Stream, v *valve) {
	a, b := net.Pipe()
	v = newValve(a)
	client, server = Client(v, 0), Server(b, 0)
	t.Cleanup(func() { client.Close(); server.Close() })
	mine, theirs = open(t, client, server)
	return client, server, mine, theirs, v
}

// Trap: a Write that waits for a stalled connection in yamux returns 0 and an
// error after ConnectionWriteTimeout, although everything arrives later, and
// ends the session; so does a ping.
// Remedy: nobody waits for the connection there, and the timeout is a year.
func TestTrapWriteTimeoutLies(t *testing.T) {
	bubble(t, func(t *testing.T) {
		client, _, mine, theirs, v := stallable(t)
		if err := mine.Opened(); err != nil {
			t.Fatal(err)
		}
		v.stall()
		go func() { time.Sleep(25 * time.Second); v.resume() }()
		pinged := make(chan error, 1)
		go func() { _, err := client.Ping(t.Context()); pinged <- err }()
		want := make([]byte, 3*usualWindow)
		rand.Read(want)
		go func() {
			if n, err := mine.Write(want); n != len(want) || err != nil {
				t.Errorf("wrote %d bytes, %v", n, err)
			}
			mine.CloseWrite()
		}()
		if got, err := io.ReadAll(theirs); err != nil || !bytes.Equal(got, want) {
			t.Errorf("read %d bytes, %v, want %d the same", len(got), err, len(want))
		}
		if err := <-pinged; err != nil {
			t.Errorf("ping: %v", err)
		}
	})
}

// Trap: a Write, Close or Read that waits in yamux for a stalled connection
// heeds no deadline, and nothing wakes it.
// Remedy: the outbox, and waiting that is this package's own.
func TestTrapStallIgnoresDeadlines(t *testing.T) {
	bubble(t, func(t *testing.T) {
		client, _, mine, theirs, v := stallable(t)
		// Everything from here on is granted and sent behind a stalled write.
		sent := make([]byte, usualWindow*3/4)
		if _, err := theirs.Write(sent); err != nil {
			t.Fatal(err)
		}
		v.stall()
		begun := time.Now()
		if _, err := io.ReadFull(mine, make([]byte, len(sent))); err != nil {
			t.Errorf("reading what has arrived: %v", err)
		}
		mine.SetWriteDeadline(time.Now().Add(time.Second))
		n, err := mine.Write(make([]byte, 8*usualWindow))
		if !errors.Is(err, os.ErrDeadlineExceeded) || n == 0 || n > 2*mostQueue {
			t.Errorf("wrote %d bytes, %v, want the deadline after what the outbox holds", n, err)
		}
		mine.SetWriteDeadline(time.Time{})
		ended := make(chan error, 1)
		go func() { _, err := mine.Write(make([]byte, usualWindow)); ended <- err }()
		synctest.Wait()
		mine.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("a Write in which the stream was closed: %v", err)
		}
		if _, err := client.Open(t.Context(), "another"); err != nil {
			t.Errorf("open: %v", err)
		}
		if passed := time.Since(begun); passed > 2*time.Second {
			t.Errorf("all that took %v", passed)
		}
		begun = time.Now()
		client.Close()
		if passed := time.Since(begun); passed > 2*closeLinger {
			t.Errorf("closing the session took %v", passed)
		}
	})
}

// rawPeer is the other end of a session, by hand: it plays yamux's server.
type rawPeer struct {
	t    *testing.T
	conn net.Conn
}

// facing returns a session's end, yamux's server, and who faces it.
func facing(t *testing.T) (*Mux, rawPeer) {
	a, b := net.Pipe()
	m := Server(a, 0)
	t.Cleanup(func() { m.Close(); b.Close() })
	return m, rawPeer{t, b}
}

func (p rawPeer) send(f frame, body []byte) {
	if _, err := p.conn.Write(append(f.append(nil), body...)); err != nil {
		p.t.Errorf("the session takes no more: %v", err)
	}
}

// openStream opens a stream as spec.md wants it.
func (p rawPeer) openStream(id uint32) {
	p.send(frame{kind: frameWindow, flags: flagSYN, stream: id}, nil)
	request, err := proto.Append(nil, &proto.Open{Target: "x"})
	if err != nil {
		p.t.Fatal(err)
	}
	p.send(frame{kind: frameData, stream: id, length: uint32(len(request))}, request)
}

// listen reads frames until the session ends and gives them to f.
func (p rawPeer) listen(f func(frame)) {
	go func() {
		var h [frameHeader]byte
		for {
			if _, err := io.ReadFull(p.conn, h[:]); err != nil {
				return
			}
			got := parseFrame(h[:])
			if _, err := io.CopyN(io.Discard, p.conn, int64(got.body())); err != nil {
				return
			}
			f(got)
		}
	}()
}

// keepTalking answers nothing, but lets itself be heard for a time.
func (p rawPeer) keepTalking(d time.Duration) {
	for range d / time.Second {
		time.Sleep(time.Second)
		p.send(frame{kind: framePing, flags: flagACK}, nil)
	}
}

// Trap: yamux pings every 30 s whatever else is going on, and ends the session
// if one is not answered in time.
// Remedy: EnableKeepAlive is off; a connection that is heard is not pinged.
func TestTrapKeepalive(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, p := facing(t)
		pings := make(chan frame, 100)
		p.listen(func(f frame) {
			if f.kind == framePing {
				pings <- f
			}
		})
		p.keepTalking(3 * time.Minute)
		if m.Err() != nil || len(pings) > 0 {
			t.Errorf("%d pings; the session: %v", len(pings), m.Err())
		}
	})
}

// Trap: yamux ends the session if a stream is not acknowledged within 75 s.
// Remedy: StreamOpenTimeout is off.
func TestTrapOpenTimeout(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, p := facing(t)
		p.listen(func(frame) {})
		if _, err := m.Open(t.Context(), "x"); err != nil {
			t.Fatal(err)
		}
		p.keepTalking(3 * time.Minute)
		if m.Err() != nil {
			t.Errorf("the session ended: %v", m.Err())
		}
	})
}

// Trap: streams beyond AcceptBacklog (256) are reset while the program is slow
// to accept them, and while yamux's receiving goroutine waits to say so, nothing
// is received.
// Remedy: a backlog beyond every cap, and streams are taken from yamux at once.
func TestTrapAcceptBacklog(t *testing.T) {
	client, server, _ := pair(t)
	mine, theirs := open(t, client, server)
	for range MaxStreams - 1 {
		s, err := client.Open(t.Context(), "x")
		if err != nil {
			t.Fatal(err)
		}
		s.Write([]byte("hello"))
	}
	mine.Write([]byte("still there?"))
	if _, err := io.ReadFull(theirs, make([]byte, 12)); err != nil {
		t.Errorf("a stream that was there before: %v", err)
	}
	for i := range MaxStreams - 1 {
		s, err := server.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(s, make([]byte, 5)); err != nil {
			t.Fatalf("stream %d: %v", i, err)
		}
	}
}

// The same where nothing is accepted before everything has been received.
func TestTrapAcceptBacklogBurst(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	m, p := facing(t)
	resets := make(chan frame, 2*MaxStreams)
	acks := make(chan frame, 2*MaxStreams)
	p.listen(func(f frame) {
		if f.flags&flagRST != 0 {
			resets <- f
		} else if f.flags&flagACK != 0 {
			acks <- f
		}
	})
	var burst []byte
	for i := range uint32(2 * MaxStreams) {
		burst = frame{kind: frameWindow, flags: flagSYN, stream: 2*i + 1}.append(burst)
	}
	if _, err := p.conn.Write(burst); err != nil {
		t.Fatal(err)
	}
	for range 2 * MaxStreams {
		select {
		case <-acks:
		case f := <-resets:
			t.Fatalf("stream %d was reset", f.stream)
		case <-m.Done():
			t.Fatal(m.Err())
		}
	}
}

// Trap: yamux's window of 256 KiB is all that is on its way in a round trip.
// Remedy: windows that grow, while they are used, to twice what the path holds.
func TestTrapSmallWindow(t *testing.T) {
	const rtt = 100 * time.Millisecond
	bubble(t, func(t *testing.T) {
		a, b := net.Pipe()
		client, server := Client(a, rtt), Server(b, rtt)
		defer server.Close()
		defer client.Close()
		mine, theirs := open(t, client, server)
		mine.SetWriteDeadline(time.Now().Add(time.Second))
		if n, _ := mine.Write(make([]byte, 4*usualWindow)); n < 900<<10 {
			t.Errorf("%d bytes on their way on a new stream", n)
		}
		mine.SetWriteDeadline(time.Time{})
		go mine.Write(make([]byte, 64<<20))
		if _, err := io.CopyN(io.Discard, theirs, 64<<20); err != nil {
			t.Fatal(err)
		}
		if got, want := theirs.window.size, int(2*rtt.Seconds()*rate); got != want {
			t.Errorf("a window of %d bytes after much use, want %d", got, want)
		}
	})
}

// Trap: yamux writes a frame's header and its body one after the other: two TLS
// records and two system calls.
// Remedy: streams put whole frames into the outbox.
func TestTrapSeparateWrites(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := net.Pipe()
		writes := &recorder{Conn: a}
		client, server := Client(writes, 0), Server(b, 0)
		defer server.Close()
		defer client.Close()
		mine, _ := open(t, client, server)
		synctest.Wait()
		writes.take()
		mine.Write(make([]byte, 100))
		synctest.Wait()
		if got := writes.take(); len(got) != 1 || got[0] != frameHeader+proto.ChunkHeader+100 {
			t.Errorf("a Write of 100 bytes came as writes of %d", got)
		}
	})
}

// recorder notes the sizes of writes.
type recorder struct {
	net.Conn
	mu    sync.Mutex
	sizes []int
}

func (r *recorder) Write(b []byte) (int, error) {
	r.mu.Lock()
	r.sizes = append(r.sizes, len(b))
	r.mu.Unlock()
	return r.Conn.Write(b)
}

func (r *recorder) take() []int {
	r.mu.Lock()
	defer r.mu.Unlock()
	sizes := r.sizes
	r.sizes = nil
	return sizes
}

// deaf is a connection whose Read does not notice that it was closed.
type deaf struct {
	net.Conn
	release chan struct{}
}

func (d deaf) Read(b []byte) (int, error) {
	n, err := d.Conn.Read(b)
	if err != nil {
		<-d.release
	}
	return n, err
}

// Trap: once its session is being shut down, yamux lets readers spin until it
// gets round to their stream, which is after its receiving goroutine has ended.
// Remedy: a deadline wakes them up before yamux knows.
func TestTrapReadersSpin(t *testing.T) {
	a, b := loopback(t)
	d := deaf{a, make(chan struct{})}
	client, server := Client(d, 0), Server(b, 0)
	defer server.Close()
	defer client.Close()
	defer close(d.release)
	mine, _ := open(t, client, server)
	if err := mine.Opened(); err != nil {
		t.Fatal(err)
	}
	read := make(chan error, 1)
	go func() { _, err := mine.Read(make([]byte, 1)); read <- err }()
	go client.Close()
	select {
	case err := <-read:
		if !errors.Is(err, ErrAborted) {
			t.Errorf("read: %v", err)
		}
	case <-time.After(5 * time.Second):
		t.Error("the reader is still at it")
	}
}

// Trap: while yamux receives a frame it holds the stream's lock: if the rest of
// the frame does not come, a Read gets nothing of it, heeds no deadline, and
// Close cannot wake it.
// Remedy: the inbox tells yamux only of what has arrived.
func TestTrapHalfAFrame(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, p := facing(t)
		p.listen(func(frame) {})
		p.openStream(1)
		s, err := m.Accept()
		if err != nil {
			t.Fatal(err)
		}
		p.send(frame{kind: frameData, stream: 1, length: 4 + 1000}, append(appendLength(nil, 1000), "half"...))
		got := make([]byte, 10)
		if n, err := s.Read(got); string(got[:n]) != "half" || err != nil {
			t.Errorf("read %q, %v", got[:n], err)
		}
		s.SetReadDeadline(time.Now().Add(time.Second))
		if _, err := s.Read(got); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("read: %v, want the deadline", err)
		}
	})
}

// Trap: yamux grants every stream the same window, so that the other end
// decides how much this one has to buffer.
// Remedy: grants are taken from what the streams of a session share.
func TestTrapSumOfWindows(t *testing.T) {
	m, p := facing(t)
	var granted int
	acks := make(chan struct{}, 2*MaxStreams)
	p.listen(func(f frame) {
		if f.kind == frameWindow {
			granted += int(f.length)
			acks <- struct{}{}
		}
	})
	for i := range uint32(2 * MaxStreams) {
		p.openStream(2*i + 1)
	}
	for range 2 * MaxStreams {
		<-acks
	}
	if granted > sharedWindows {
		t.Errorf("%d streams were granted %d bytes beyond the first", 2*MaxStreams, granted)
	}
	p.send(frame{kind: frameData, stream: 1, length: maxWindow}, nil)
	select {
	case <-m.Done():
		if !errors.Is(m.Err(), ErrProtocol) {
			t.Errorf("the session ended with %v", m.Err())
		}
	case <-time.After(5 * time.Second):
		t.Error("a frame beyond every grant is taken")
	}
}

// A peer that has this end answer, and does not listen, ends the session
// instead of filling the memory.
func TestAnswersThatNobodyTakes(t *testing.T) {
	m, p := facing(t)
	p.openStream(1)
	s, err := m.Accept()
	if err != nil {
		t.Fatal(err)
	}
	for range 2 * mostControl / 256 {
		if err = s.answer(&proto.Opened{Code: proto.CodeNotExposed, Text: "no"}); err != nil {
			break
		}
		if err = s.sendNow(make([]byte, 256)); err != nil {
			break
		}
	}
	<-m.Done()
	if !errors.Is(err, errControl) || !errors.Is(m.Err(), errControl) {
		t.Errorf("an answer: %v; the session: %v", err, m.Err())
	}
}
