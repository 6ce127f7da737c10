package recording

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Recording is what a file holds.
type Recording struct {
	Head     Head
	Attempts []Attempt
}

// Attempt is one introduction and what became of it.
type Attempt struct {
	Introduction *Introduction // nil if it did not come to one
	Events       []Event
	Result       *Result // nil if the recording ends before
}

// MaxLine bounds a line of a recording, in bytes.
const MaxLine = 1 << 20

// Errors of Read.
var (
	ErrNoRecording = errors.New("not a recording")
	ErrVersion     = errors.New("a recording of a later version")
)

// Read reads a recording. One that ends in the middle of a line is read up to
// that.
func Read(r io.Reader) (*Recording, error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, MaxLine)
	lines.Split(wholeLines)
	rec := new(Recording)
	number := 0
	for lines.Scan() {
		number++
		if err := rec.take(lines.Bytes(), number); err != nil {
			return nil, err
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return nil, fmt.Errorf("line %d is longer than %d bytes", number+1, MaxLine)
	case err != nil:
		return nil, err
	case number == 0:
		return nil, fmt.Errorf("%w: there is no first line", ErrNoRecording)
	}
	return rec, nil
}

// wholeLines is a bufio.SplitFunc that leaves out what has no end.
func wholeLines(data []byte, _ bool) (advance int, line []byte, err error) {
	if end := bytes.IndexByte(data, '\n'); end >= 0 {
		return end + 1, data[:end], nil
	}
	return 0, nil, nil
}

func (r *Recording) take(text []byte, number int) error {
	var l struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(text, &l); err != nil {
		return fmt.Errorf("line %d: %w: %v", number, ErrNoRecording, err)
	}
	var err error
	switch {
	case number == 1:
		return r.takeHead(l.Type, text)
	case l.Type == typeIntroduction:
		in := new(Introduction)
		err = json.Unmarshal(text, in)
		r.Attempts = append(r.Attempts, Attempt{Introduction: in})
	case l.Type == typeEvent:
		var e Event
		err = json.Unmarshal(text, &e)
		a := r.current()
		a.Events = append(a.Events, e)
	case l.Type == typeResult:
		a := r.current()
		a.Result = new(Result)
		err = json.Unmarshal(text, a.Result)
	}
	if err != nil {
		return fmt.Errorf("line %d: %w", number, err)
	}
	return nil
}

func (r *Recording) takeHead(kind string, text []byte) error {
	if kind != typeHead {
		return fmt.Errorf("%w: the first line has type %q", ErrNoRecording, kind)
	}
	if err := json.Unmarshal(text, &r.Head); err != nil {
		return fmt.Errorf("%w: %v", ErrNoRecording, err)
	}
	if r.Head.Version > Version {
		return fmt.Errorf("%w: %d; this program knows up to %d, update it", ErrVersion, r.Head.Version, Version)
	}
	return nil
}

// current is the attempt that a line belongs to. A result follows an attempt that
// has none; what comes after a result without an introduction is an attempt that
// did not come to one.
func (r *Recording) current() *Attempt {
	if n := len(r.Attempts); n == 0 || r.Attempts[n-1].Result != nil {
		r.Attempts = append(r.Attempts, Attempt{})
	}
	return &r.Attempts[len(r.Attempts)-1]
}
