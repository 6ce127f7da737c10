package main

import (
	"bytes"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerd/peerd/punch/natlab"
)

// What is under test must not be able to know what it is tested with: no agent
// and no peerd gets the name of a profile in its arguments, its environment or
// what it is told.
func TestBlind(t *testing.T) {
	natlab.Require(t)
	b, err := newBench(cell{A: "linux-open", B: "user-rst", RTT: 2 * time.Millisecond}, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer b.close()
	var told bytes.Buffer
	for _, c := range []*conductor{b.a, b.b} {
		c.in = io.MultiWriter(c.in, &told)
		checkBlind(t, "arguments", strings.Join(c.cmd.Args[1:], " "))
		checkBlind(t, "environment", own(c.cmd.Env))
	}
	if o := b.run(0); o.Err != nil {
		t.Fatal(o.Err)
	}
	if !strings.Contains(told.String(), `"Op":"connect"`) {
		t.Fatal("nothing was recorded")
	}
	checkBlind(t, "orders", told.String())

	w := &world{lab: b.lab, peerd: "peerd", dir: t.TempDir(), url: b.url.String()}
	for _, args := range [][]string{{"serve"}, {"run", "--allow", b.a.id.String()}, {"ping", b.b.id.String()}} {
		cmd := w.command(t.Context(), b.lab.A, "a", args...)
		checkBlind(t, "peerd's arguments", strings.Join(cmd.Args[1:], " "))
		checkBlind(t, "peerd's environment", own(cmd.Env))
	}
}

// own is what a command has in its environment beyond that of this process,
// which is the same for all pairs.
func own(env []string) string {
	return strings.Join(slices.DeleteFunc(slices.Clone(env), func(v string) bool { return slices.Contains(os.Environ(), v) }), " ")
}

func checkBlind(t *testing.T, what, text string) {
	t.Helper()
	for _, name := range expectations.names {
		if strings.Contains(text, name) {
			t.Errorf("%s name the profile %s: %s", what, name, text)
		}
	}
}
