package proto

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Text on the wire is printable: it ends in logs and on terminals, where
// control characters, line ends and changes of direction would let the other
// side write what seems to come from this program.

// checkText returns an error unless s is printable and not longer than limit.
func checkText(s string, limit int) error {
	if len(s) > limit {
		return fmt.Errorf("%w: text of %d bytes", ErrTooLarge, len(s))
	}
	if cleanText(s, limit) != s {
		return fmt.Errorf("%w: unprintable text %q", ErrMalformed, s)
	}
	return nil
}

// cleanText returns s with every unprintable character replaced by a space and
// every invalid byte by U+FFFD, cut to at most limit bytes between characters.
func cleanText(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
	if len(s) <= limit {
		return s
	}
	for !utf8.RuneStart(s[limit]) {
		limit--
	}
	return s[:limit]
}

func (m *Register) withCleanText() Message {
	c := *m
	c.Agent = cleanText(c.Agent, MaxText)
	return &c
}

func (m *Failure) withCleanText() Message {
	c := *m
	c.Text = cleanText(c.Text, MaxText)
	return &c
}

func (m *Opened) withCleanText() Message {
	c := *m
	c.Text = cleanText(c.Text, MaxText)
	return &c
}

func (m *Listening) withCleanText() Message {
	c := *m
	c.Text = cleanText(c.Text, MaxText)
	return &c
}
