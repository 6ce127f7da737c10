package main

import (
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"
)

// screen is standard error: whole lines, and on a terminal one more below them
// that is rewritten in place. It is safe for concurrent use.
type screen struct {
	w      io.Writer
	width  func() int // of the terminal, in columns; nil where there is none
	colour bool

	mu    sync.Mutex
	shown int // columns that the status line takes
}

// newScreen finds out what a file can show. NO_COLOR and a TERM that is empty,
// as where nothing sets it, or dumb mean no escape sequences.
func newScreen(f *os.File) *screen {
	s := &screen{w: f}
	if !term.IsTerminal(int(f.Fd())) || os.Getenv("TERM") == "dumb" {
		return s
	}
	s.width = func() int {
		columns, _, err := term.GetSize(int(f.Fd()))
		if err != nil || columns < 1 {
			return 80
		}
		return columns
	}
	s.colour = os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != ""
	return s
}

// isTerminal reports whether status shows anything.
func (s *screen) isTerminal() bool { return s.width != nil }

// Write prints whole lines; the status line goes away.
func (s *screen) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if erase := s.eraseLocked(); erase != "" {
		io.WriteString(s.w, erase)
	}
	return s.w.Write(b)
}

// status replaces the status line; "" removes it. The text is ASCII.
func (s *screen) status(text string) {
	if !s.isTerminal() {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	// The last column stays free: terminals differ in when they wrap.
	text = text[:min(len(text), s.width()-1)]
	erase := s.eraseLocked()
	s.shown = len(text)
	if s.colour && text != "" {
		const dim, normal = "\x1b[2m", "\x1b[0m"
		text = dim + text + normal
	}
	io.WriteString(s.w, erase+text)
}

// eraseLocked returns what removes the status line.
func (s *screen) eraseLocked() string {
	if s.shown == 0 {
		return ""
	}
	blanks := strings.Repeat(" ", s.shown)
	s.shown = 0
	return "\r" + blanks + "\r"
}
