package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// narrator tells a person on a terminal, or a file, what happens.
type narrator struct {
	w      io.Writer
	live   bool // a terminal: one line may be rewritten in place
	colour bool
	steps  int
}

// newNarrator finds out what w can show.
func newNarrator(w io.Writer) *narrator {
	f, ok := w.(*os.File)
	live := ok && term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
	return &narrator{w: w, live: live, colour: live && os.Getenv("NO_COLOR") == ""}
}

// The colours, as SGR parameters.
const (
	bold  = "1"
	dim   = "2"
	red   = "31"
	green = "32"
)

// paint colours a text where colours are wanted.
func (n *narrator) paint(sgr, text string) string {
	if !n.colour || text == "" {
		return text
	}
	return "\x1b[" + sgr + "m" + text + "\x1b[0m"
}

// step begins a step with a title.
func (n *narrator) step(title string) {
	n.steps++
	fmt.Fprintf(n.w, "\n%s\n", n.paint(bold, fmt.Sprintf("%d  %s", n.steps, title)))
}

// say prints a line of a step.
func (n *narrator) say(format string, args ...any) {
	fmt.Fprintf(n.w, "   "+format+"\n", args...)
}

// progress shows a line that the next one replaces; only terminals see it.
func (n *narrator) progress(text string) {
	if n.live {
		fmt.Fprintf(n.w, "\r\x1b[K   %s", n.paint(dim, text))
	}
}

// clear removes the line of progress.
func (n *narrator) clear() {
	if n.live {
		io.WriteString(n.w, "\r\x1b[K")
	}
}

// block prints a drawing.
func (n *narrator) block(text string) {
	fmt.Fprintln(n.w, "   "+strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n   "))
}
