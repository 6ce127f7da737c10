package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch/recording"
)

// recorder writes what --record asks for.
type recorder struct {
	peer proto.ID
	file *os.File
	w    *recording.Writer
}

// newRecorder creates the file, for its owner only: it says where both peers are
// to be found.
func newRecorder(path, program string, id proto.ID) (*recorder, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil, fmt.Errorf("--record: %s is there already; remove it, or choose another file", path)
	case err != nil:
		return nil, fmt.Errorf("--record: %w; choose another file", err)
	}
	return &recorder{peer: id, file: f, w: recording.NewWriter(f, program, id)}, nil
}

// event notes what concerns the connection to the peer.
func (r *recorder) event(e peer.Event) {
	if e.Peer != r.peer {
		return
	}
	switch e.Kind {
	case peer.Introducing:
		r.w.Begin(e.Time)
	case peer.Introduced:
		r.w.Introduced(e.Time, e.Role, e.Transcript)
	case peer.Punch:
		r.w.Punched(e.Time, e.Punch)
	case peer.Connected:
		r.w.Connected(e.Time, e.Path.Remote, e.Path.RTT)
	case peer.ConnectFailed:
		r.w.Failed(e.Time, errors.New(oneLine(e.Err.Error())))
	}
}

// end closes the file behind the command, whose error it passes on. That the
// recording is incomplete is no failure of the connection.
func (r *recorder) end(err error, p *program) error {
	if err != nil {
		_, text := p.names.judge(err)
		r.w.Failed(time.Now(), errors.New(cmp.Or(oneLine(text), err.Error())))
	}
	if failed := errors.Join(r.w.Err(), r.file.Close()); failed != nil {
		p.warn(fmt.Sprintf("the recording %s is incomplete: %v", r.file.Name(), failed))
	}
	return err
}
