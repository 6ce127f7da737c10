package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peerd/peerd/cmd/peerd/authorized"
	"github.com/peerd/peerd/proto"
)

// petname is what people call a peer. Upper and lower case are the same.
type petname struct {
	name  string
	id    proto.ID
	place string // FILE:LINE
}

// petnames returns the names of [peers] and of authorized_peers. The error says
// what could not be read, and is of interest if a name is missing.
func (p *program) petnames() ([]petname, error) {
	list := p.settings.file.peers
	f, path, err := p.readAuthorized()
	if err != nil {
		return list, err
	}
	list = list[:len(list):len(list)]
	for _, e := range f.Entries() {
		if e.Name != "" {
			list = append(list, petname{e.Name, e.ID, fmt.Sprintf("%s:%d", path, e.Line)})
		}
	}
	return list, f.Err()
}

// readAuthorized reads authorized_peers; without a place for it, it is empty.
func (p *program) readAuthorized() (f *authorized.File, path string, err error) {
	path, err = p.settings.beside(authorizedName)
	if err != nil {
		return new(authorized.File), "", nil
	}
	f, err = authorized.Read(path)
	return f, path, err
}

// lookUp returns the peer that a text names: by its ID or by a name. The error
// says what is wrong with the text.
func (p *program) lookUp(text string) (proto.ID, error) {
	id, idErr := proto.ParseID(text)
	if idErr == nil {
		return id, nil
	}
	names, err := p.petnames()
	var found *petname
	for _, n := range names {
		switch {
		case !strings.EqualFold(n.name, text):
		case found == nil:
			found = &n
		case found.id != n.id:
			return id, fmt.Errorf("two peers have that name: %s in %s, and %s in %s; rename one, or give the ID", found.id, found.place, n.id, n.place)
		}
	}
	switch {
	case found != nil:
		return found.id, nil
	case authorized.CheckName(text) != nil, seemsID(text):
		return id, idErr
	case err != nil:
		return id, &unknownNameError{fmt.Sprintf("no peer is called %q, as far as can be seen: %v", text, err)}
	}
	return id, &unknownNameError{fmt.Sprintf(`no peer is called %q%s; "peerd peers" lists the names`, text, nearestName(text, names))}
}

// unknownNameError says that no peer has a name, which could be one's.
type unknownNameError struct {
	text string
}

// Error implements error.
func (e *unknownNameError) Error() string { return e.text }

// seemsID reports whether a text that could be a name is rather a peer ID with a
// slip in it.
func seemsID(text string) bool {
	if _, err := proto.ParseID(text); !errors.Is(err, proto.ErrIDLength) {
		return true
	}
	const part = 20 // characters, more than a name has that happens to look like this
	return len(text) >= part && text[0] == 'p' && strings.Trim(text, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

// nearestName says which name may have been meant.
func nearestName(text string, names []petname) string {
	var known []string
	for _, n := range names {
		known = append(known, strings.ToLower(n.name))
	}
	like := nearest(strings.ToLower(text), known)
	if len(like) == 0 {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", strings.Join(like, " or "))
}

// nameOf returns what people call a peer, or "".
func (p *program) nameOf(id proto.ID) string {
	names, _ := p.petnames()
	for _, n := range names {
		if n.id == id {
			return n.name
		}
	}
	return ""
}

// parsePeer parses the PEER of a command line.
func (p *program) parsePeer(cmd *cobra.Command, text string) (proto.ID, error) {
	id, err := p.lookUp(text)
	var unknown *unknownNameError
	switch {
	case errors.As(err, &unknown):
		return id, &codedError{exitOffline, unknown.text}
	case err != nil:
		return id, &usageError{cmd, fmt.Sprintf("PEER %q: %v", text, err)}
	}
	p.names.peer, p.names.called = id, p.nameOf(id)
	return id, nil
}
