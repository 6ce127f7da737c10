package authorized

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/peerd/peerd/cmd/peerd/ownfile"
	"github.com/peerd/peerd/proto"
)

// File is the content of an authorized_peers file: what it says, and every byte
// of it. The zero File is an empty one.
type File struct {
	path  string
	lines []line
}

// line is one line: a peer, a comment, nothing, or bad.
type line struct {
	text    string // with its line end, if it has one
	peer    *Peer
	comment string // behind the peer, from '#' on
	err     error
	again   proto.ID // the peer that a line before is about, too
}

// Entry is a peer and where it stands.
type Entry struct {
	Peer
	Line int // from 1
}

// LineError says what is wrong with a line.
type LineError struct {
	Path string
	Line int // from 1
	Err  error
}

// Error names the place.
func (e *LineError) Error() string { return fmt.Sprintf("%s:%d: %v", e.Path, e.Line, e.Err) }

// Unwrap returns what is wrong.
func (e *LineError) Unwrap() error { return e.Err }

// Parse parses a file. Lines that are bad grant nothing; Err tells of them. Of
// several lines for one peer the first one counts, and the others are bad.
func Parse(path string, data []byte) *File {
	f := &File{path: path}
	seen := make(map[proto.ID]int)
	for text := range strings.Lines(string(data)) {
		l := parseLine(text)
		if l.peer != nil {
			if first := seen[l.peer.ID]; first > 0 {
				l = line{text: text, err: fmt.Errorf("peer %s is in line %d already", l.peer.ID, first), again: l.peer.ID}
			} else {
				seen[l.peer.ID] = len(f.lines) + 1
			}
		}
		f.lines = append(f.lines, l)
	}
	return f
}

func parseLine(text string) line {
	l := line{text: text}
	content, comment := cutComment(strings.TrimSpace(text))
	if content == "" {
		return l
	}
	p, err := parsePeer(content)
	if err != nil {
		l.err = err
		return l
	}
	l.peer, l.comment = &p, comment
	return l
}

// cutComment cuts a line before a '#' that begins it or stands behind a space
// outside of quotes.
func cutComment(text string) (content, comment string) {
	quoted := false
	for i, c := range []byte(text) {
		switch {
		case c == '"':
			quoted = !quoted
		case c == '#' && !quoted && (i == 0 || text[i-1] == ' ' || text[i-1] == '\t'):
			return strings.TrimSpace(text[:i]), text[i:]
		}
	}
	return text, ""
}

// Read reads a file; one that does not exist is empty. The error wraps
// ownfile.ErrUntrusted if others can write it.
func Read(path string) (*File, error) {
	data, _, err := ownfile.Read(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return Parse(path, data), nil
}

// Edit changes a file. If one of its lines is bad, it stays as it is and the error
// is that of Err. An error of change is returned as it is.
func Edit(path string, change func(*File) error) error {
	return ownfile.Edit(path, func(old []byte) ([]byte, error) {
		f := Parse(path, old)
		if err := f.Err(); err != nil {
			return nil, err
		}
		if err := change(f); err != nil {
			return nil, err
		}
		return f.Bytes(), nil
	})
}

// CanEdit returns an error if Edit would fail as things are: a line is bad, or the
// file cannot be written.
func CanEdit(path string) error {
	parsed := errors.New("all lines are right")
	err := Edit(path, func(*File) error { return parsed })
	if err != parsed {
		return err
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	probe, err := os.CreateTemp(filepath.Dir(path), ".peerd-*")
	if err != nil {
		return err
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// Revoke removes a peer from a file and reports whether it was there. It leaves
// lines that are bad as they are, because revoking must not depend on them; kept
// are their errors, for the file as it is then.
func Revoke(path string, id proto.ID) (removed bool, kept []error, err error) {
	err = ownfile.Edit(path, func(old []byte) ([]byte, error) {
		f := Parse(path, old)
		removed = f.Remove(id)
		data := f.Bytes()
		kept = Parse(path, data).Errors()
		return data, nil
	})
	return removed, kept, err
}

// Bytes returns the file's content.
func (f *File) Bytes() []byte {
	var b strings.Builder
	for _, l := range f.lines {
		b.WriteString(l.text)
	}
	return []byte(b.String())
}

// Entries returns the peers, in the order of the lines.
func (f *File) Entries() (list []Entry) {
	for i, l := range f.lines {
		if l.peer != nil {
			list = append(list, Entry{*l.peer, i + 1})
		}
	}
	return list
}

// Errors returns a *LineError for each bad line.
func (f *File) Errors() (list []error) {
	for i, l := range f.lines {
		if l.err != nil {
			list = append(list, &LineError{f.path, i + 1, l.err})
		}
	}
	return list
}

// Err joins Errors.
func (f *File) Err() error { return errors.Join(f.Errors()...) }

// Peer returns the line of a peer.
func (f *File) Peer(id proto.ID) (Peer, bool) {
	for _, l := range f.lines {
		if l.peer != nil && l.peer.ID == id {
			return *l.peer, true
		}
	}
	return Peer{}, false
}

// Set replaces the line of a peer, whose comment stays, or appends one.
func (f *File) Set(p Peer) {
	fresh := line{text: p.String() + "\n", peer: &p}
	for i, l := range f.lines {
		if l.peer != nil && l.peer.ID == p.ID {
			if fresh.comment = l.comment; l.comment != "" {
				fresh.text = p.String() + " " + l.comment + "\n"
			}
			f.lines[i] = fresh
			return
		}
	}
	if n := len(f.lines); n > 0 && !strings.HasSuffix(f.lines[n-1].text, "\n") {
		f.lines[n-1].text += "\n"
	}
	f.lines = append(f.lines, fresh)
}

// Remove removes the line of a peer, and those that repeat it; it reports whether
// there was one.
func (f *File) Remove(id proto.ID) bool {
	before := len(f.lines)
	f.lines = slices.DeleteFunc(f.lines, func(l line) bool {
		return l.peer != nil && l.peer.ID == id || l.err != nil && l.again == id
	})
	return len(f.lines) < before
}
