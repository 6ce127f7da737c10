package authorized

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/peerd/peerd/cmd/peerd/ownfile"
	"github.com/peerd/peerd/proto"
)

// Live is a file that may change while a daemon runs. It is safe for concurrent
// use.
type Live struct {
	path string
	log  *slog.Logger

	mu    sync.Mutex
	info  fs.FileInfo // of the file as it was read; nil if it was not
	until time.Time   // zero, or when what was read is to be read once more
	peers map[proto.ID]Peer
	told  map[string]bool // the errors of the last reading
}

// NewLive reads a file for the first time. Bad lines, and a file that cannot be
// read, go to the log once for as long as they stay the same.
func NewLive(path string, log *slog.Logger) *Live {
	l := &Live{path: path, log: log}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readLocked(time.Now())
	return l
}

// Peer returns the line of a peer as the file says it now.
func (l *Live) Peer(id proto.ID) (Peer, bool) {
	now := time.Now()
	info, err := os.Stat(l.path)
	if err != nil {
		info = nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.isAsReadLocked(info) || !l.until.IsZero() && now.After(l.until) {
		l.readLocked(now)
	}
	p, ok := l.peers[id]
	return p, ok
}

// Len returns the number of peers that the file authorised when it was last read.
func (l *Live) Len() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.peers)
}

// isAsReadLocked reports whether the file seems to be what was read.
func (l *Live) isAsReadLocked(now fs.FileInfo) bool {
	if l.info == nil || now == nil {
		return l.info == nil && now == nil
	}
	return ownfile.Same(l.info, now)
}

// coarse is how far apart two changes may be that leave a file with the same
// time; FAT counts in twos.
const coarse = 2 * time.Second

// readLocked reads the file anew. If that fails it authorises nobody: who could
// have written it last is not known.
func (l *Live) readLocked(now time.Time) {
	var errs []error
	f := new(File)
	data, info, err := ownfile.Read(l.path)
	switch {
	case err == nil:
		f = Parse(l.path, data)
		errs = f.Errors()
	case !errors.Is(err, fs.ErrNotExist):
		errs = []error{err}
		info = nil // what puts it right, the file itself need not show
	}
	l.info, l.until = info, time.Time{}
	if info != nil && now.Sub(info.ModTime()) < coarse {
		l.until = info.ModTime().Add(coarse)
	}
	l.peers = make(map[proto.ID]Peer)
	for _, e := range f.Entries() {
		l.peers[e.ID] = e.Peer
	}
	l.complain(errs)
}

// complain logs what was not wrong before.
func (l *Live) complain(errs []error) {
	told := make(map[string]bool)
	for _, err := range errs {
		text := err.Error()
		if !l.told[text] {
			l.log.Error("authorized_peers grants nothing here until it is put right", "err", text)
		}
		told[text] = true
	}
	l.told = told
}
