//go:build unix

package tunnel

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// A write that hears of a reset must not make an end of it for who reads.
func TestSocketResetIsNoEnd(t *testing.T) {
	for range 50 {
		near, far := pair(t)
		s := NewSocket(near)
		wrote := make(chan error, 1)
		go func() {
			_, err := s.Write(make([]byte, 32<<20)) // more than the kernel takes
			wrote <- err
		}()
		io.ReadFull(far, make([]byte, 1<<20))
		far.SetLinger(0)
		far.Close()
		if got, err := io.ReadAll(s); err == nil {
			t.Fatalf("read %d bytes and an end, where there was a reset; writing: %v", len(got), <-wrote)
		}
		if err := <-wrote; err == nil {
			t.Error("writing went well")
		}
		s.Close()
	}
}

// The other side's end stays one, although what is written to it is refused.
func TestSocketEndIsNoReset(t *testing.T) {
	near, far := pair(t)
	s := NewSocket(near)
	io.WriteString(far, "answer")
	far.Close()
	for {
		if _, err := s.Write([]byte("request")); err != nil {
			break
		}
	}
	if got, err := io.ReadAll(s); err != nil || string(got) != "answer" {
		t.Errorf("read %q, %v, want the answer and its end", got, err)
	}
	s.Close()
}

// dieWith is set in a process that holds the socket with this number, until it
// is killed.
const dieWith = "PEERD_TEST_DIE_WITH"

func TestMain(m *testing.M) {
	if os.Getenv(dieWith) != "" {
		hold()
	}
	goleak.VerifyTestMain(m)
}

// hold makes a connection that it got an End's, tells so, and waits to be
// killed.
func hold() {
	f := os.NewFile(3, "connection")
	conn, err := net.FileConn(f)
	if err != nil {
		os.Exit(1)
	}
	f.Close()
	s := NewSocket(conn)
	io.WriteString(s, "held")
	select {}
}

// A process that is killed resets its connections.
func TestSocketOfKilledProcess(t *testing.T) {
	near, far := pair(t)
	f, err := near.File()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), dieWith+"=3")
	cmd.ExtraFiles = []*os.File{f}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f.Close()
	near.Close()
	if _, err := io.ReadFull(far, make([]byte, 4)); err != nil {
		t.Error(err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if n, err := far.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read %d bytes, %v, want a reset", n, err)
	}
}

// A proper close delivers what was written.
func TestSocketCloseDelivers(t *testing.T) {
	near, far := pair(t)
	s := NewSocket(near)
	want := bytes.Repeat([]byte("x"), 200_000)
	if _, err := s.Write(want); err != nil {
		t.Fatal(err)
	}
	s.Close()
	far.SetReadDeadline(time.Now().Add(10 * time.Second))
	if got, err := io.ReadAll(far); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes, %v, want %d", len(got), err, len(want))
	}
}
