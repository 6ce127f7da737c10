package tunnel

import (
	"context"
	"errors"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// claimLimit bounds the wait for others that make sockets in the same directory.
const claimLimit = time.Second

// claim keeps other programs of this kind from making or removing sockets in the
// directory of a path. It may fail: then a dead socket cannot be told from one
// that somebody is about to listen on.
func claim(ctx context.Context, name string) (release func(), err error) {
	dir, err := os.Open(filepath.Dir(name))
	if err != nil {
		return nil, err
	}
	for end := time.Now().Add(claimLimit); ; {
		err = syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return func() { dir.Close() }, nil
		case !errors.Is(err, syscall.EWOULDBLOCK) && err != syscall.EINTR, time.Now().After(end), ctx.Err() != nil:
			dir.Close()
			return nil, err
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// removeDead removes a unix socket of this user that no program has open any more,
// and reports whether it did. The caller holds the claim.
func removeDead(name string) bool {
	before, err := os.Lstat(name)
	if err != nil || before.Mode().Type() != os.ModeSocket || before.Sys().(*syscall.Stat_t).Uid != uint32(os.Geteuid()) {
		return false
	}
	conn, err := net.Dial("unix", name)
	if err == nil {
		conn.Close()
	}
	// A listener whose queue is full is EAGAIN here; other systems refuse then, too.
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return false
	}
	now, err := os.Lstat(name)
	return err == nil && os.SameFile(before, now) && os.Remove(name) == nil
}
