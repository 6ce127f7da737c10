package main

import (
	"bytes"
	"testing"
)

func TestScreenStatus(t *testing.T) {
	var buf bytes.Buffer
	s := &screen{w: &buf, width: func() int { return 10 }}
	s.status("one")
	s.Write([]byte("line\n"))
	s.status("longer than the terminal is wide")
	s.status("two")
	s.status("")
	s.status("")
	const want = "one" + "\r   \r" + "line\n" + "longer th" + "\r         \r" + "two" + "\r   \r"
	if got := buf.String(); got != want {
		t.Errorf("screen:\n%q, want\n%q", got, want)
	}
}

func TestScreenColour(t *testing.T) {
	var buf bytes.Buffer
	s := &screen{w: &buf, width: func() int { return 10 }, colour: true}
	s.status("one")
	s.status("")
	if got, want := buf.String(), "\x1b[2mone\x1b[0m\r   \r"; got != want {
		t.Errorf("screen: %q, want %q", got, want)
	}
}

func TestScreenWithoutTerminal(t *testing.T) {
	var buf bytes.Buffer
	s := &screen{w: &buf}
	s.status("one")
	s.Write([]byte("line\n"))
	if got, want := buf.String(), "line\n"; got != want {
		t.Errorf("not a terminal: %q, want %q", got, want)
	}
}
