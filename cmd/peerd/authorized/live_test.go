package authorized

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
)

func (l *Live) has(id proto.ID) bool { _, ok := l.Peer(id); return ok }

func TestLiveFollowsTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "authorized_peers")
	var log bytes.Buffer
	live := NewLive(path, slog.New(slog.NewTextHandler(&log, nil)))
	if live.has(home) || log.Len() > 0 {
		t.Fatalf("without a file: %s", &log)
	}
	set := func(p Peer) {
		t.Helper()
		if err := Edit(path, func(f *File) error { f.Set(p); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	set(Peer{ID: home})
	if !live.has(home) || live.has(trip) || live.Len() != 1 {
		t.Error("home was not noticed")
	}
	set(Peer{ID: trip, Open: []string{"22"}})
	if p, ok := live.Peer(trip); !ok || len(p.Open) != 1 {
		t.Errorf("trip: %v, %v", p, ok)
	}
	os.WriteFile(path, []byte("bad\n"+trip.String()+"\n"), 0o600)
	for range 3 {
		if live.has(home) || !live.has(trip) {
			t.Error("a bad line changed the others, or counts")
		}
	}
	os.WriteFile(path, []byte("bad\n"+trip.String()+" trip\n"), 0o600)
	live.Peer(trip)
	if n := strings.Count(log.String(), path+":1: "); n != 1 {
		t.Errorf("the bad line was logged %d times:\n%s", n, &log)
	}
	os.Remove(path)
	if live.has(trip) {
		t.Error("a file that is gone authorises")
	}
}

// In the same second a file may change and keep its time and size.
func TestLiveReadsYoungFilesAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "authorized_peers")
	at := time.Now()
	write := func(id proto.ID) {
		os.WriteFile(path, []byte(id.String()), 0o600)
		os.Chtimes(path, at, at)
	}
	write(home)
	live := NewLive(path, slog.New(slog.DiscardHandler))
	write(trip)
	live.mu.Lock()
	if live.until.IsZero() {
		t.Error("a young file is taken for settled")
	}
	live.until = time.Now().Add(-1) // the time has passed
	live.mu.Unlock()
	if live.has(home) || !live.has(trip) {
		t.Error("the change was not noticed")
	}
}
