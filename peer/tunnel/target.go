package tunnel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"unicode"
)

// maxTarget bounds a target's text, in bytes; it is the protocol's limit.
const maxTarget = 255

// unixPrefix marks the path of a unix socket.
const unixPrefix = "unix:"

// ParseTarget returns the canonical text of what a user wants of a peer: a port
// number (that port of the peer's loopback), HOST:PORT, unix:/path or just
// /path, or else a name that the peer gave to a target.
func ParseTarget(text string) (string, error) {
	if strings.HasPrefix(text, "/") {
		text = unixPrefix + text
	}
	switch {
	case text == "" || len(text) > maxTarget:
		return "", fmt.Errorf("a target has 1 to %d bytes", maxTarget)
	case strings.HasPrefix(text, unixPrefix):
		return text, checkUnixTarget(strings.TrimPrefix(text, unixPrefix))
	case isNumber(strings.TrimPrefix(text, "-")):
		_, err := parsePort(text, 1)
		return text, err
	case strings.Contains(text, ":"):
		host, port, err := splitHostPort(text)
		if err != nil {
			return "", err
		}
		return joinHostPort(host, port), nil
	}
	return text, checkName(text)
}

// parseLocalTarget is ParseTarget for a target on this side, where names mean
// nothing.
func parseLocalTarget(text string) (string, error) {
	target, err := ParseTarget(text)
	if err == nil && !strings.Contains(target, ":") && !isNumber(target) {
		return "", fmt.Errorf("target %q on this machine is not a port number, HOST:PORT or unix:/path", target)
	}
	return target, err
}

// checkUnixTarget checks the path of a unix socket on another machine.
func checkUnixTarget(name string) error {
	if !path.IsAbs(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("unix socket %q: the path begins with / and is printable", name)
	}
	return nil
}

// checkName checks the name of a target.
func checkName(name string) error {
	if name == "" || len(name) > maxTarget {
		return fmt.Errorf("a target has 1 to %d bytes", maxTarget)
	}
	if strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || !unicode.IsPrint(r) }) {
		return errors.New("a target has no spaces")
	}
	return nil
}

// splitHostPort splits HOST:PORT and checks both parts.
func splitHostPort(text string) (host string, port uint16, err error) {
	host, portText, err := net.SplitHostPort(text)
	if err != nil {
		return "", 0, fmt.Errorf("%q is not HOST:PORT; an IPv6 address stands in brackets", text)
	}
	if err := checkHost(host); err != nil {
		return "", 0, err
	}
	port, err = parsePort(portText, 1)
	return host, port, err
}

// joinHostPort is the inverse of splitHostPort.
func joinHostPort(host string, port uint16) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

// checkHost accepts an IP address, with a zone if it has one, and what can be
// the name of a host. What a resolver makes of it is another matter.
func checkHost(host string) error {
	if _, err := netip.ParseAddr(host); err == nil {
		return nil
	}
	odd := func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !strings.ContainsRune("-._", r)
	}
	if host == "" || strings.ContainsFunc(host, odd) {
		return fmt.Errorf("%q is not a host name or an address", host)
	}
	return nil
}

// parsePort parses a port number from lowest on.
func parsePort(text string, lowest uint16) (uint16, error) {
	n, err := strconv.ParseUint(text, 10, 16)
	if err != nil || n < uint64(lowest) {
		return 0, fmt.Errorf("%q is not a port number from %d to 65535", text, lowest)
	}
	return uint16(n), nil
}

func isNumber(text string) bool {
	return text != "" && strings.Trim(text, "0123456789") == ""
}
