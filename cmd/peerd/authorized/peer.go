package authorized

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/peerd/peerd/peer/tunnel"
	"github.com/peerd/peerd/proto"
)

// Peer is what one line says.
type Peer struct {
	ID   proto.ID
	Name string // "" is none
	// Open are the patterns of permit-open. Nil: the line does not have that
	// option, and permits what is exposed; empty: it permits nothing.
	Open []string
	// Listen are the patterns of permit-listen; nil and empty permit nothing.
	Listen []string
}

// The options of a line.
const (
	permitOpen   = "permit-open"
	permitListen = "permit-listen"
)

// String returns the line.
func (p Peer) String() string {
	var options []string
	if p.Open != nil {
		options = append(options, option(permitOpen, p.Open))
	}
	if p.Listen != nil {
		options = append(options, option(permitListen, p.Listen))
	}
	fields := []string{p.ID.String()}
	if len(options) > 0 {
		fields = slices.Insert(fields, 0, strings.Join(options, ","))
	}
	if p.Name != "" {
		fields = append(fields, p.Name)
	}
	return strings.Join(fields, " ")
}

func option(name string, patterns []string) string {
	return fmt.Sprintf(`%s="%s"`, name, strings.Join(patterns, ","))
}

// parsePeer parses a line without its comment.
func parsePeer(text string) (p Peer, err error) {
	rest, err := p.parseOptions(text)
	if err != nil {
		return Peer{}, err
	}
	fields := strings.Fields(rest)
	switch {
	case len(fields) == 0:
		return Peer{}, errors.New("no peer ID behind the options")
	case len(fields) > 2:
		return Peer{}, fmt.Errorf("%q behind the name; a line has the form: [options] ID [name] [# comment]", fields[2])
	}
	if p.ID, err = proto.ParseID(fields[0]); err != nil {
		return Peer{}, fmt.Errorf("%q is neither an option nor a peer ID: %w", fields[0], err)
	}
	if p.ID.IsZero() {
		return Peer{}, errors.New("the zero ID belongs to nobody")
	}
	if len(fields) == 2 {
		if err := CheckName(fields[1]); err != nil {
			return Peer{}, fmt.Errorf("name %q: %w", fields[1], err)
		}
		p.Name = fields[1]
	}
	return p, nil
}

// parseOptions takes the options from the beginning of a line.
func (p *Peer) parseOptions(text string) (rest string, err error) {
	name, value, found := strings.Cut(text, `="`)
	if !found || strings.ContainsAny(name, " \t") {
		return text, nil // no options
	}
	for {
		patterns, rest, ended := strings.Cut(value, `"`)
		if !ended {
			return "", fmt.Errorf("option %s: no closing quote", name)
		}
		if err := p.setOption(name, patterns); err != nil {
			return "", err
		}
		if !strings.HasPrefix(rest, ",") {
			if rest != strings.TrimLeft(rest, " \t") {
				return rest, nil
			}
			return "", fmt.Errorf("option %s: a space or a comma is missing behind it", name)
		}
		if name, value, found = strings.Cut(rest[1:], `="`); !found {
			return "", fmt.Errorf(`an option has the form name="value", not %q`, rest[1:])
		}
	}
}

func (p *Peer) setOption(name, patterns string) (err error) {
	var field *[]string
	check := tunnel.CheckOpen
	switch name {
	case permitOpen:
		field = &p.Open
	case permitListen:
		field, check = &p.Listen, tunnel.CheckListen
	default:
		return fmt.Errorf("unknown option %q; there are %s and %s", name, permitOpen, permitListen)
	}
	if *field != nil {
		return fmt.Errorf("option %s is there twice", name)
	}
	if *field, err = parsePatterns(patterns, check); err != nil {
		return fmt.Errorf("option %s: %w", name, err)
	}
	return nil
}

// ParseOpen parses a list of patterns for permit-open: "22,web,*:443". The empty
// list permits nothing.
func ParseOpen(list string) ([]string, error) { return parsePatterns(list, tunnel.CheckOpen) }

// ParseListen parses a list of patterns for permit-listen.
func ParseListen(list string) ([]string, error) { return parsePatterns(list, tunnel.CheckListen) }

func parsePatterns(list string, check func(string) error) ([]string, error) {
	patterns := []string{}
	if list == "" {
		return patterns, nil
	}
	for pattern := range strings.SplitSeq(list, ",") {
		// What these stand for would be lost in the line.
		if strings.ContainsAny(pattern, "\"\r\n") {
			return nil, fmt.Errorf("%q has a quote or a line end in it", pattern)
		}
		if err := check(pattern); err != nil {
			return nil, err
		}
		patterns = append(patterns, pattern)
	}
	return patterns, nil
}
