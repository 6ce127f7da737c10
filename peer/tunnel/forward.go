package tunnel

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Forward is what one of ssh's options -L, -R and -D asks for.
type Forward struct {
	Listen Bind   // where connections come in: here, or on the peer for a remote forward
	Target string // where they go; "" for a dynamic forward
}

// Bind is where a forward listens: a TCP port or a unix socket.
type Bind struct {
	Host string // "" is the loopback, "*" are all interfaces
	Port uint16 // 0 is any free one
	Path string // of a unix socket; Host and Port are zero then
}

// ParseLocal parses the argument of -L: [BIND:]PORT:TARGET or PATH:TARGET, the
// target being the peer's. In a path, \ takes the meaning from a colon.
func ParseLocal(text string) (Forward, error) { return parseForward(text, ParseTarget) }

// ParseRemote parses the argument of -R, which has the form of -L's; its target
// is on this side.
func ParseRemote(text string) (Forward, error) { return parseForward(text, parseLocalTarget) }

// ParseDynamic parses the argument of -D: [BIND:]PORT or PATH.
func ParseDynamic(text string) (Forward, error) {
	bind, err := ParseBind(text)
	return Forward{Listen: bind}, err
}

func parseForward(text string, parseTarget func(string) (string, error)) (Forward, error) {
	bind, target, more, err := cutBind(text)
	switch {
	case err == nil && !more && bind.Host != "" && bind.Host != "*":
		err = fmt.Errorf("%q is not a port number; or, if it is an address to bind, the target is missing: [bind:]port:TARGET", bind.Host)
	case err == nil && !more:
		err = errors.New("the target is missing: [bind:]port:TARGET")
	}
	if err != nil {
		return Forward{}, err
	}
	target, err = parseTarget(target)
	return Forward{Listen: bind, Target: target}, err
}

// String returns the argument from which the forward may be parsed again.
func (f Forward) String() string {
	if f.Target == "" {
		return f.Listen.spec()
	}
	return f.Listen.spec() + ":" + f.Target
}

// ParseBind parses [BIND:]PORT, PATH or unix:PATH. Bind.String gives it back.
func ParseBind(text string) (Bind, error) {
	if name, ok := strings.CutPrefix(text, unixPrefix); ok && name != "" {
		return Bind{Path: name}, nil
	}
	bind, rest, more, err := cutBind(text)
	if err == nil && more {
		err = fmt.Errorf("%q after the port", ":"+rest)
	}
	return bind, err
}

// String returns PORT for the loopback, HOST:PORT, or unix:PATH.
func (b Bind) String() string {
	switch {
	case b.Path != "":
		return unixPrefix + b.Path
	case b.Host == "":
		return strconv.Itoa(int(b.Port))
	}
	return joinHostPort(b.Host, b.Port)
}

// spec is String as it stands before a target.
func (b Bind) spec() string {
	if b.Path != "" {
		return unixPrefix + strings.NewReplacer(`\`, `\\`, `:`, `\:`).Replace(b.Path)
	}
	return b.String()
}

// cutBind parses the place to listen at that begins a forward. More reports
// whether a colon and the rest follow.
func cutBind(text string) (b Bind, rest string, more bool, err error) {
	name, isPath := strings.CutPrefix(text, unixPrefix)
	first, rest, more := cutField(name)
	switch {
	case isPath || strings.Contains(first, "/"):
		if first == "" {
			err = errors.New("the path of the unix socket is missing")
		}
		return Bind{Path: first}, rest, more, err
	case isNumber(first):
		b.Port, err = parsePort(first, 0)
		return b, rest, more, err
	}
	b.Host, rest, err = cutHost(text)
	if err != nil {
		return Bind{}, "", false, err
	}
	first, rest, more = strings.Cut(rest, ":")
	if b.Port, err = parsePort(first, 0); err != nil {
		err = fmt.Errorf("%w; a path would have a / in it", err)
	}
	return b, rest, more, err
}

// cutHost cuts the bind address, and the colon behind it, off a forward. As with
// ssh, an empty one is *.
func cutHost(text string) (host, rest string, err error) {
	if inner, ok := strings.CutPrefix(text, "["); ok {
		host, rest, ok = strings.Cut(inner, "]:")
		if !ok {
			return "", "", fmt.Errorf("%q: an address in brackets is followed by a colon and a port", text)
		}
		return host, rest, checkHost(host)
	}
	host, rest, ok := strings.Cut(text, ":")
	switch {
	case !ok:
		return "", "", fmt.Errorf("%q is not a port number", text)
	case host == "" || host == "*":
		return "*", rest, nil
	}
	return host, rest, checkHost(host)
}

// cutField cuts text at the first colon that no \ precedes, and takes those out.
func cutField(text string) (field, rest string, more bool) {
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == ':':
			return b.String(), text[i+1:], true
		case text[i] == '\\' && i+1 < len(text):
			i++
		}
		b.WriteByte(text[i])
	}
	return b.String(), "", false
}
