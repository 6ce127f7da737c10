//go:build linux

package natlab

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// verdicts records what Require does to a test.
type verdicts struct{ said []string }

func (v *verdicts) Helper()          {}
func (v *verdicts) Skip(args ...any) { v.said = append(v.said, "skip "+args[0].(error).Error()) }
func (v *verdicts) Fatal(args ...any) {
	v.said = append(v.said, "fatal "+args[0].(error).Error())
}

func TestRequireFailsLoudlyInCI(t *testing.T) {
	for _, tt := range []struct {
		ci   string
		err  error
		want string
	}{
		{"", nil, ""},
		{"true", nil, ""},
		{"", errors.New("why"), "skip why"},
		{"true", errors.New("why"), "fatal why"},
	} {
		t.Setenv("CI", tt.ci)
		var v verdicts
		require(&v, tt.err)
		if got := strings.Join(v.said, ", "); got != tt.want {
			t.Errorf("CI=%q, error %v: %q, want %q", tt.ci, tt.err, got, tt.want)
		}
	}
}

func TestObstacles(t *testing.T) {
	all, dir := obstacles, t.TempDir()
	defer func() { obstacles = all }()
	for i, o := range all {
		obstacles = all[i : i+1]
		obstacles[0].path = filepath.Join(dir, filepath.Base(o.path))
		if err := os.WriteFile(obstacles[0].path, []byte(o.bad+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := knownObstacle(); err == nil || !strings.Contains(err.Error(), o.fix) {
			t.Errorf("%s = %s: %v", o.path, o.bad, err)
		}
		obstacles[0].path = o.path
	}
	obstacles = nil
	if unix.Access(tunPath, unix.R_OK|unix.W_OK) == nil {
		if err := knownObstacle(); err != nil {
			t.Error(err)
		}
	}
}

// TestMainThreadStaysOut guards against a namespace entered on the thread that Go never ends.
func TestMainThreadStaysOut(t *testing.T) {
	Require(t)
	before, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	lab := newLab(t, Config{})
	for range 50 {
		go lab.A.Do(func() error { return nil })
	}
	if err := lab.A.Do(func() error { return nil }); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Readlink("/proc/self/ns/net"); after != before || err != nil {
		t.Errorf("the main thread went from %s to %s, %v", before, after, err)
	}
}
