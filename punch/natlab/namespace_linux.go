package natlab

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

var errClosed = errors.New("natlab: lab is closed")

// onThread runs f on an OS thread of its own and destroys the thread afterwards, so that f may leave it in any state. It must
// not be the main thread, which Go never ends: a namespace entered there would live as long as the process.
func onThread(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f()
			return
		}
		done := make(chan struct{})
		onThread(func() { defer close(done); f() })
		<-done
		runtime.UnlockOSThread()
	}()
}

// namespace is a network namespace, with a thread that stays in it: children are forked there, because the signal that they
// get at their parent's death is tied to the thread.
type namespace struct {
	file  *os.File
	calls chan func()
	quit  chan struct{}
	done  chan struct{}
	once  sync.Once
}

func newNamespace() (*namespace, error) {
	n := &namespace{calls: make(chan func()), quit: make(chan struct{}), done: make(chan struct{})}
	started := make(chan error)
	onThread(func() { n.serve(started) })
	if err := <-started; err != nil {
		<-n.done
		return nil, err
	}
	return n, nil
}

// serve owns the namespace's thread.
func (n *namespace) serve(started chan<- error) {
	defer close(n.done)
	err := unix.Unshare(unix.CLONE_NEWNET)
	if err == nil {
		n.file, err = os.Open("/proc/thread-self/ns/net")
	}
	if err != nil {
		started <- fmt.Errorf("natlab: make a network namespace: %w", err)
		return
	}
	started <- nil
	for {
		select {
		case f := <-n.calls:
			f()
		case <-n.quit:
			return
		}
	}
}

// run calls f on the namespace's own thread. Calls are serial: f must not block.
func (n *namespace) run(f func() error) error {
	result := make(chan error, 1)
	select {
	case n.calls <- func() { result <- f() }:
		return <-result
	case <-n.quit:
		return errClosed
	}
}

// do calls f on a fresh thread inside the namespace.
func (n *namespace) do(f func() error) error {
	result := make(chan error, 1)
	onThread(func() {
		err := errors.New("natlab: the function left its goroutine")
		defer func() { result <- err }()
		if e := n.enter(); e != nil {
			err = e
			return
		}
		err = f()
	})
	return <-result
}

func (n *namespace) enter() error {
	select {
	case <-n.quit:
		return errClosed
	default:
	}
	conn, err := n.file.SyscallConn()
	if err != nil {
		return errClosed
	}
	// Control keeps the descriptor open if close comes now.
	var failed error
	if conn.Control(func(fd uintptr) { failed = unix.Setns(int(fd), unix.CLONE_NEWNET) }) != nil {
		return errClosed
	}
	if failed != nil {
		return fmt.Errorf("natlab: enter a network namespace: %w", failed)
	}
	return nil
}

// close ends the thread. The namespace itself lives until the last socket in it is closed.
func (n *namespace) close() {
	n.once.Do(func() {
		close(n.quit)
		<-n.done
		n.file.Close()
	})
}
