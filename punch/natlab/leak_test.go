//go:build linux

package natlab

import (
	"context"
	"errors"
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestClosed(t *testing.T) {
	Require(t)
	lab := newLab(t, Config{})
	lab.Close()
	lab.Close()
	if err := lab.A.Do(func() error { return nil }); !errors.Is(err, errClosed) {
		t.Error("Do:", err)
	}
	if _, err := lab.A.Capture(); !errors.Is(err, errClosed) {
		t.Error("Capture:", err)
	}
	if err := lab.A.Command(context.Background(), "true").Run(); !errors.Is(err, errClosed) {
		t.Error("Command:", err)
	}
}

func TestNoLeak(t *testing.T) {
	Require(t)
	use := func() {
		lab := newLab(t, Config{A: profile(t, "openwrt"), B: profile(t, "user-drop"), SameNAT: false})
		if _, err := lab.A.Capture(); err != nil {
			t.Fatal(err)
		}
		filtered := lab.B.Command(context.Background(), "sleep", "60")
		if auditArch != 0 {
			filtered.Filter = DenyReusePort
		}
		if err := errors.Join(filtered.Start(), lab.B.Command(context.Background(), "sleep", "60").Start()); err != nil {
			t.Fatal(err)
		}
		c, s := connect(t, lab.A, lab.Server)
		c.Close()
		s.Close()
		lab.Close()
	}
	use()
	files, goroutines := countFiles(t), goleak.IgnoreCurrent()
	before := namespaces(t)
	for range 3 {
		use()
	}
	goleak.VerifyNone(t, goroutines)
	if n := countFiles(t); n > files {
		t.Errorf("%d files are open, %d were", n, files)
	}
	waitFor(t, "threads to leave the namespaces", func() bool { return namespaces(t) <= before })
}

func countFiles(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func namespaces(t *testing.T) int {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, task := range tasks {
		if ns, err := os.Readlink("/proc/self/task/" + task.Name() + "/ns/net"); err == nil {
			seen[ns] = true
		}
	}
	return len(seen)
}
