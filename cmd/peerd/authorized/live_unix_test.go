//go:build unix

package authorized

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLiveTrustsNoFileThatOthersWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "authorized_peers")
	os.WriteFile(path, []byte(home.String()), 0o600)
	var log bytes.Buffer
	live := NewLive(path, slog.New(slog.NewTextHandler(&log, nil)))
	if !live.has(home) {
		t.Fatal("home is not authorised")
	}
	os.Chmod(path, 0o666)
	live.Peer(home)
	if live.has(home) || strings.Count(log.String(), "open to changes by other users") != 1 {
		t.Errorf("a file that others can write: %s", &log)
	}
	os.Chmod(path, 0o600)
	if !live.has(home) {
		t.Error("home is not authorised again")
	}
}

// What is put right counts at once, wherever it was wrong, as does what is not
// right any more.
func TestLiveFollowsOwnersAndDirectories(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "authorized_peers")
	os.WriteFile(path, []byte(home.String()), 0o600)
	old := time.Now().Add(-time.Hour) // so that the file is not read again for being young
	os.Chtimes(path, old, old)
	os.Chmod(dir, 0o777)
	live := NewLive(path, slog.New(slog.DiscardHandler))
	if live.has(home) {
		t.Error("a file that others can replace authorises")
	}
	os.Chmod(dir, 0o755)
	if !live.has(home) {
		t.Error("that the directory is right now was not noticed")
	}
	if os.Geteuid() != 0 {
		return
	}
	for _, uid := range []int{4711, 0, 4711, 0} {
		if err := os.Chown(path, uid, -1); err != nil {
			t.Fatal(err)
		}
		if live.has(home) != (uid == 0) {
			t.Errorf("authorised is %v when the file is the user %d's", live.has(home), uid)
		}
	}
}
