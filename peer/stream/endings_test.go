package stream

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/proto/identity"
)

// How streams and sessions end, where two ends or two goroutines cross.

// data sends bytes on a stream.
func (p rawPeer) data(id uint32, body []byte) {
	p.send(frame{kind: frameData, stream: id, length: uint32(len(body))}, body)
}

// flag sends a frame that has nothing but a flag.
func (p rawPeer) flag(id uint32, flags uint16) {
	p.send(frame{kind: frameWindow, flags: flags, stream: id}, nil)
}

// encoded returns a message's bytes.
func encoded(t *testing.T, m proto.Message) []byte {
	t.Helper()
	b, err := proto.Append(nil, m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

var end = appendLength(nil, 0)

// accepted returns a stream that the raw peer has opened, confirmed.
func accepted(t *testing.T, m *Mux, p rawPeer) *Stream {
	t.Helper()
	p.openStream(1)
	s, err := m.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Confirm(); err != nil {
		t.Fatal(err)
	}
	return s
}

// What comes on a stream that this end has finished with is thrown away, not
// kept; and until the other end has closed it, too, the stream has its place.
func TestWhatComesBehindTheEndIsDiscarded(t *testing.T) {
	for name, finish := range map[string]func(*testing.T, rawPeer, *Stream){
		"behind END": func(t *testing.T, p rawPeer, s *Stream) {
			p.data(1, append(end, 'x'))
			if _, err := io.ReadAll(s); err != nil {
				t.Error(err)
			}
			s.CloseWrite()
			if err := s.Drain(t.Context()); !errors.Is(err, ErrReaderGone) {
				t.Errorf("Drain: %v, want ErrReaderGone", err)
			}
		},
		"behind Abort": func(_ *testing.T, _ rawPeer, s *Stream) { s.Abort() },
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m, p := facing(t)
				grants := make(chan int, 100)
				p.listen(func(f frame) {
					if f.kind == frameWindow && f.flags == 0 {
						grants <- int(f.length)
					}
				})
				finish(t, p, accepted(t, m, p))
				synctest.Wait()
				for range 3 {
					p.data(1, make([]byte, 200<<10))
				}
				synctest.Wait()
				if len(grants) == 0 {
					t.Error("600 KiB are kept, not discarded")
				}
				if m.Streams() != 1 || len(m.accepted) != 1 {
					t.Errorf("%d streams, %d places taken, while the other end has one open", m.Streams(), len(m.accepted))
				}
				p.flag(1, flagFIN)
				synctest.Wait()
				if m.Streams() != 0 || len(m.accepted) != 0 || m.Err() != nil {
					t.Errorf("%d streams, %d places taken after the FIN; the session: %v", m.Streams(), len(m.accepted), m.Err())
				}
			})
		})
	}
}

// RST behind END is no receipt, and Drain does not wait for one.
func TestResetIsNoReceipt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m, p := facing(t)
		p.listen(func(frame) {})
		s := accepted(t, m, p)
		p.data(1, end)
		if _, err := io.ReadAll(s); err != nil {
			t.Fatal(err)
		}
		s.CloseWrite()
		p.flag(1, flagRST)
		if err := s.Drain(within(t, time.Second)); !errors.Is(err, ErrAborted) {
			t.Errorf("Drain: %v, want ErrAborted", err)
		}
	})
}

// A receipt counts although the session ends right behind it, and although the
// end of the data is read only then. The session's end is none.
func TestReceiptBeforeTheSessionsEnd(t *testing.T) {
	for name, receipt := range map[string]bool{"receipt": true, "no receipt": false} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m, p := facing(t)
				p.listen(func(frame) {})
				s := accepted(t, m, p)
				s.CloseWrite()
				if s.Ended() {
					t.Error("Ended before the other end has")
				}
				p.data(1, append(append(appendLength(nil, 5), "hello"...), end...))
				if receipt {
					p.flag(1, flagFIN)
				}
				p.conn.Close()
				<-m.Done()
				synctest.Wait()
				if got, err := io.ReadAll(s); string(got) != "hello" || err != nil {
					t.Errorf("read %q, %v", got, err)
				}
				if !s.Ended() {
					t.Error("not Ended after both ends")
				}
				if err := s.Drain(within(t, time.Minute)); (err == nil) != receipt {
					t.Errorf("Drain: %v", err)
				}
			})
		})
	}
}

// mute is a connection that takes nothing once it is told so.
type mute struct {
	net.Conn
	told chan struct{}
}

func (c mute) Write(b []byte) (int, error) {
	select {
	case <-c.told:
		return 0, syscall.EPIPE
	default:
		return c.Conn.Write(b)
	}
}

// A connection that takes no more may still hold what the other end sent before:
// it is read, then the session ends. Who writes is told at once.
func TestReadingOutlivesWriting(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := net.Pipe()
		conn := mute{a, make(chan struct{})}
		m := Server(conn, 0)
		defer m.Close()
		p := rawPeer{t, b}
		p.listen(func(frame) {})
		s := accepted(t, m, p)
		wrote := make(chan error, 1)
		go func() {
			_, err := s.Write(make([]byte, 8*usualWindow))
			wrote <- err
		}()
		synctest.Wait() // it waits for credit
		close(conn.told)
		begun := time.Now()
		go m.Ping(t.Context())
		if err := <-wrote; !errors.Is(err, ErrAborted) || !errors.Is(err, syscall.EPIPE) {
			t.Errorf("write: %v, want ErrAborted and EPIPE", err)
		}
		if err := s.CloseWrite(); !errors.Is(err, ErrAborted) {
			t.Errorf("CloseWrite: %v, want ErrAborted", err)
		}
		if passed := time.Since(begun); passed > 0 {
			t.Errorf("the writer learnt it after %v", passed)
		}
		go m.Ping(t.Context()) // yamux is not told
		synctest.Wait()
		p.data(1, append(append(appendLength(nil, 5), "hello"...), end...))
		p.flag(1, flagFIN)
		p.conn.Close()
		if got, err := io.ReadAll(s); string(got) != "hello" || err != nil {
			t.Errorf("read %q, %v", got, err)
		}
		if err := s.Drain(within(t, time.Minute)); err != nil {
			t.Errorf("Drain: %v", err)
		}
		<-m.Done()
	})
}

// Nor does a session wait for ever for the end of a connection that takes
// nothing.
func TestSessionThatCannotWriteEnds(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := net.Pipe()
		conn := mute{a, make(chan struct{})}
		m := Server(conn, 0)
		defer m.Close()
		defer b.Close()
		p := rawPeer{t, b}
		p.listen(func(frame) {})
		s := accepted(t, m, p)
		synctest.Wait()
		close(conn.told)
		begun := time.Now()
		s.Write([]byte("x"))
		synctest.Wait()
		if _, err := m.Open(t.Context(), "x"); err == nil || m.Err() == nil {
			t.Errorf("open: %v; the session: %v; want it to have ended", err, m.Err())
		}
		<-m.Done()
		if passed := time.Since(begun); passed > 2*readOnLimit || !errors.Is(m.Err(), syscall.EPIPE) {
			t.Errorf("the session ended after %v: %v", passed, m.Err())
		}
	})
}

// tlsLoopback returns the ends of a TLS connection over TCP.
func tlsLoopback(t testing.TB) (net.Conn, net.Conn) {
	x, y := loopback(t)
	ck, sk := identity.Generate(), identity.Generate()
	client := tls.Client(x, ck.ClientConfig(proto.ALPNPeer, sk.ID()))
	server := tls.Server(y, sk.ServerConfig(proto.ALPNPeer, func(proto.ID) error { return nil }))
	shaken := make(chan error, 1)
	go func() { shaken <- server.Handshake() }()
	if err := errors.Join(client.Handshake(), <-shaken); err != nil {
		t.Fatal(err)
	}
	return client, server
}

// An end that has read everything and leaves has given its receipt, whatever
// carries the session.
func TestReceiptThenClose(t *testing.T) {
	carriers := map[string]func(testing.TB) (net.Conn, net.Conn){"pipe": pipe, "TCP": loopback, "TLS": tlsLoopback}
	for name, carrier := range carriers {
		t.Run(name, func(t *testing.T) {
			for i := range 200 {
				x, y := carrier(t)
				client, server := Client(x, 0), Server(y, 0)
				if err := exchangeAndLeave(t, client, server); err != nil {
					t.Fatalf("session %d: %v", i, err)
				}
				client.Close()
			}
		})
	}
}

// exchangeAndLeave has one end send, and the other read it and leave. It returns
// what the one's Drain does.
func exchangeAndLeave(t *testing.T, client, server *Mux) error {
	a, b := open(t, client, server)
	a.Write([]byte("data"))
	a.CloseWrite()
	drained := make(chan error, 1)
	go func() {
		io.ReadAll(a)
		drained <- a.Drain(within(t, 5*time.Second))
	}()
	if got, err := io.ReadAll(b); string(got) != "data" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	b.CloseWrite()
	server.Close()
	return <-drained
}

// A deadline within the answer to Open loses nothing of it.
func TestDeadlineWithinTheAnswer(t *testing.T) {
	bubble(t, func(t *testing.T) {
		a, b := net.Pipe()
		m := Client(a, 0)
		defer m.Close()
		defer b.Close()
		p := rawPeer{t, b}
		p.listen(func(frame) {})
		s, err := m.Open(t.Context(), "x")
		if err != nil {
			t.Fatal(err)
		}
		p.flag(1, flagACK)
		rest := append(append(encoded(t, &proto.Opened{}), appendLength(nil, 5)...), "hello"...)
		for range len(rest) - 5 { // in pieces of one byte
			p.data(1, rest[:1])
			rest = rest[1:]
			s.SetReadDeadline(time.Now().Add(time.Second))
			if n, err := s.Read(make([]byte, 10)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("read %d bytes, %v, want the deadline", n, err)
			}
		}
		p.data(1, rest)
		s.SetReadDeadline(time.Now().Add(time.Second))
		got := make([]byte, 5)
		if _, err := io.ReadFull(s, got); err != nil || string(got) != "hello" {
			t.Errorf("read %q, %v", got, err)
		}
	})
}

// Close does not wait behind a Write that begins at the same moment, and which
// may itself wait for the other end.
func TestCloseBesideWrite(t *testing.T) {
	client, server, _ := pair(t)
	for range 700 {
		a, b := open(t, client, server)
		lurking := make(chan struct{})
		done := make(chan struct{})
		go func() {
			defer close(done)
			close(lurking)
			lurk(a)
		}()
		<-lurking
		closed := make(chan struct{})
		go func() { a.Close(); close(closed) }()
		select {
		case <-closed:
		case <-time.After(5 * time.Second):
			t.Error("Close waits for a Write")
			a.Abort()
			<-closed
		}
		<-done
		b.Abort()
		if t.Failed() {
			return
		}
	}
}

// lurk takes the place of a Write as soon as it was somebody else's for a
// moment, and keeps it until the stream is closed.
func lurk(s *Stream) {
	for seen := false; !s.isClosed(); {
		for range 100 {
			switch {
			case !s.write.TryLock():
				seen = true
			case seen:
				<-s.dying
				s.write.Unlock()
				return
			default:
				s.write.Unlock()
			}
		}
	}
}

// An END that leaves while the stream is aborted is followed by the byte which
// says that it is no receipt.
func TestEndBesideAbort(t *testing.T) {
	client, server, _ := pair(t)
	for range 50 {
		mine, theirs := open(t, client, server)
		mine.Write([]byte("never read"))
		mine.CloseWrite()
		credit := func() int {
			theirs.window.mu.Lock()
			defer theirs.window.mu.Unlock()
			return theirs.window.credit
		}
		before := credit()
		server.out.mu.Lock() // END cannot leave
		var both sync.WaitGroup
		both.Go(func() { theirs.CloseWrite() })
		await(t, "END is about to leave", func() bool { return credit() < before })
		both.Go(theirs.Abort)
		select {
		case <-theirs.dying: // Abort may have judged
		case <-time.After(5 * time.Millisecond): // or it waits
		}
		server.out.mu.Unlock()
		both.Wait()
		if err := theirs.sendEND(); !errors.Is(err, net.ErrClosed) {
			t.Fatalf("END behind the abort: %v, want net.ErrClosed", err)
		}
		if _, err := io.ReadAll(mine); err != nil {
			mine.Abort()
			continue
		}
		if err := mine.Drain(within(t, 5*time.Second)); !errors.Is(err, ErrReaderGone) {
			t.Fatalf("Drain: %v, want ErrReaderGone: nothing was read", err)
		}
	}
}

// END finds room in a window that is full to the last byte.
func TestEndIntoFullWindow(t *testing.T) {
	bubble(t, func(t *testing.T) {
		client, server := quiet(t)
		mine, theirs := open(t, client, server)
		if err := mine.Opened(); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		var sent int
		fill := func(n int) {
			mine.SetWriteDeadline(time.Now().Add(time.Second))
			n, _ = mine.Write(make([]byte, n))
			sent += n
		}
		fill(8 * usualWindow)
		fill(max(0, mine.window.credit-proto.ChunkHeader)) // with END's room, if it could
		for left := 0; left != mine.window.credit; {
			left = mine.window.credit
			fill(1)
		}
		if mine.window.credit < endReserve || mine.window.credit > endReserve+proto.ChunkHeader {
			t.Errorf("a credit of %d bytes is left", mine.window.credit)
		}
		if err := mine.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(theirs); len(got) != sent || err != nil {
			t.Errorf("read %d bytes, %v, want %d; the session: %v", len(got), err, sent, server.Err())
		}
	})
}

// Closing the session waits for what a stream's Close has left to be sent.
func TestCloseThenSessionClose(t *testing.T) {
	bubble(t, func(t *testing.T) {
		client, _, mine, theirs, v := stallable(t)
		if err := mine.Opened(); err != nil {
			t.Fatal(err)
		}
		v.stall()
		want := bytes.Repeat([]byte("just written"), 1000)
		if _, err := mine.Write(want); err != nil {
			t.Fatal(err)
		}
		mine.Close()
		go func() { time.Sleep(closeLinger / 2); v.resume() }()
		client.Close()
		if got, err := io.ReadAll(theirs); !bytes.Equal(got, want) || err != nil {
			t.Errorf("read %d bytes, %v, want %d", len(got), err, len(want))
		}
	})
}

// Whoever waits first and gives up, or finds nothing to do, makes way for the
// next.
func TestWritersInTurn(t *testing.T) {
	bubble(t, func(t *testing.T) {
		client, server, mine, _, v := stallable(t)
		impatient, _ := open(t, client, server)
		penniless, _ := open(t, client, server)
		penniless.SetWriteDeadline(time.Now().Add(time.Second))
		penniless.Write(make([]byte, 8*usualWindow)) // has no credit left
		v.stall()
		impatient.SetWriteDeadline(time.Now().Add(time.Second))
		if _, err := impatient.Write(make([]byte, usualWindow/2)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the first: %v, want its deadline", err)
		}
		var others sync.WaitGroup
		penniless.SetWriteDeadline(time.Time{})
		others.Go(func() { penniless.Write(make([]byte, 2*smallWrite)) })
		synctest.Wait()
		mine.SetWriteDeadline(time.Now().Add(time.Second)) // before a ping wakes anybody
		others.Go(func() {
			if n, err := mine.Write(make([]byte, usualWindow/2)); err != nil {
				t.Errorf("the last: wrote %d bytes, %v", n, err)
			}
		})
		synctest.Wait()
		v.resume()
		time.Sleep(2 * time.Second)
		penniless.Abort()
		others.Wait()
	})
}

// Streams that end in every way leave nothing behind.
func TestNothingIsLeftBehind(t *testing.T) {
	a, b := loopback(t)
	client, server := Client(a, 50*time.Millisecond), Server(b, 50*time.Millisecond)
	defer client.Close()
	defer server.Close()
	endings := []func(mine, theirs *Stream){
		func(mine, theirs *Stream) { mine.Close(); io.Copy(io.Discard, theirs); theirs.Close() },
		func(mine, theirs *Stream) { mine.Abort(); theirs.Abort() },
		func(mine, theirs *Stream) { theirs.Close(); io.Copy(io.Discard, mine); mine.Abort() },
		func(mine, theirs *Stream) {
			go mine.CloseWrite()
			io.Copy(io.Discard, theirs)
			theirs.Abort()
			mine.Close()
		},
		func(mine, theirs *Stream) { theirs.Refuse(proto.CodeBusy, ""); mine.Close() },
	}
	var all sync.WaitGroup
	for i := range 10 * len(endings) {
		from, to := client, server
		if i%2 == 1 {
			from, to = server, client
		}
		mine, theirs := open(t, from, to)
		all.Go(func() {
			go mine.Write(make([]byte, 3*usualWindow))
			io.CopyN(io.Discard, theirs, int64(i%4)*usualWindow)
			endings[i%len(endings)](mine, theirs)
		})
	}
	all.Wait()
	for name, m := range map[string]*Mux{"client": client, "server": server} {
		await(t, name+": everything is given back", func() bool {
			m.windows.mu.Lock()
			defer m.windows.mu.Unlock()
			return m.windows.free == sharedWindows && len(m.windows.all) == 0 &&
				len(m.opened)+len(m.accepted) == 0 && m.Streams() == 0 && m.Err() == nil
		})
	}
}
