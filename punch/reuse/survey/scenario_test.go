package survey

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/peerd/peerd/punch/reuse"
)

// asRival makes the test binary the other process.
const asRival = "PEERD_TEST_RIVAL"

// roles are what the test binary does instead of testing, by the environment
// variable that says so.
var roles = map[string]func(value string) error{
	asRival: func(string) error { return Rival(os.Stdin, os.Stdout) },
}

func TestMain(m *testing.M) {
	for variable, act := range roles {
		if value := os.Getenv(variable); value != "" {
			exitWith(act(value))
		}
	}
	goleak.VerifyTestMain(m)
}

func exitWith(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func startRival(ctx context.Context) *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Env = append(os.Environ(), asRival+"=1", "GORACE=atexit_sleep_ms=10")
	cmd.Stderr = os.Stderr
	return cmd
}

func mustAnswer(t *testing.T, h *Host) []Scenario {
	t.Helper()
	list, err := h.Scenarios(t.Context(), startRival)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestScenariosAreDeterministic shows that answers do not depend on chance, and
// that what does stands in the details.
func TestScenariosAreDeterministic(t *testing.T) {
	h := mustOpen(t)
	want := mustAnswer(t, h)
	seen := make(map[string]bool)
	for _, s := range want {
		if (s.Result == "") == (s.Skipped == "") {
			t.Errorf("%s, %s: result %q, skipped %q, want one of them", s.Name, s.Variant, s.Result, s.Skipped)
		}
		if key := s.Name + "|" + s.Variant; seen[key] {
			t.Errorf("%s is there twice", key)
		} else {
			seen[key] = true
		}
	}
	for range 2 {
		for i, got := range mustAnswer(t, h) {
			if got.Detail = want[i].Detail; got != want[i] {
				t.Errorf("%+v, and before %+v", got, want[i])
			}
		}
	}
}

// TestCancelled shows that an end of the context ends everything.
func TestCancelled(t *testing.T) {
	h := mustOpen(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	if _, err := h.TryAll(ctx); !errors.Is(err, why) {
		t.Errorf("cases: %v, want %v", err, why)
	}
	if _, err := h.Scenarios(ctx, startRival); !errors.Is(err, why) {
		t.Errorf("scenarios: %v, want %v", err, why)
	}
}

// TestRivalMissing shows what is said if the other process cannot be had.
func TestRivalMissing(t *testing.T) {
	h := mustOpen(t)
	for _, command := range [][]string{{"/nonexistent"}, {os.Args[0], "-test.run=^$"}} {
		_, err := h.Scenarios(t.Context(), func(ctx context.Context) *exec.Cmd {
			return exec.CommandContext(ctx, command[0], command[1:]...)
		})
		if err == nil || !strings.HasPrefix(err.Error(), "hijack: ") {
			t.Errorf("with %q for the other process: %v", command, err)
		}
	}
}

// TestProbeAgrees shows that package reuse, which tries what it needs itself,
// finds what the survey does.
func TestProbeAgrees(t *testing.T) {
	c, err := reuse.Probe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	h := mustOpen(t)
	found := make(map[string]string)
	for _, s := range mustAnswer(t, h) {
		found[s.Name+"|"+s.Variant] = s.Result
	}
	options := Addr
	if c.ReusePort {
		options = Both
	}
	pair := pairName(options, options)
	for _, agree := range []struct {
		what   string
		probed bool
		found  string
	}{
		{"shared", c.NotShared == nil, "listener plus dialer|listener first, " + pair},
		{"dial-only", c.NotDialOnly == nil, "two dialers|" + pair},
	} {
		if works := found[agree.found] == bothWork; works != agree.probed {
			t.Errorf("%s works: probed %v, in the survey %q is %q", agree.what, agree.probed, agree.found, found[agree.found])
		}
	}
	if got := found["two listeners|first pinned, AP"] == "the second gets none"; got != c.Pinned {
		t.Errorf("a port can be pinned: probed %v, in the survey %v", c.Pinned, got)
	}
	o, err := h.Try(Case{FirstOptions: Port, SecondOptions: Port})
	if err != nil {
		t.Fatal(err)
	}
	if got := o.First == ""; got != c.ReusePort {
		t.Errorf("SO_REUSEPORT can be set: probed %v, in the survey %v", c.ReusePort, got)
	}
}
