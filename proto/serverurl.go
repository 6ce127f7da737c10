package proto

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// ServerURL names a rendezvous server and the key that it must prove:
// peerd://host:port#KEY, where KEY is the server's ID.
type ServerURL struct {
	// Host is a name in ASCII, an IPv4 address, or an IPv6 address without
	// brackets, perhaps with a zone.
	Host string
	Port uint16
	Key  ID
}

// DefaultPort is the port of a server whose URL does not name one.
const DefaultPort = 7878

// ErrServerURL is wrapped by every error of ParseServerURL.
var ErrServerURL = errors.New("a server's URL has the form peerd://host:port#KEY")

// ParseServerURL parses the URL as `peerd serve` prints it. The error wraps
// ErrServerURL, and that of ParseID if the key is at fault.
func ParseServerURL(s string) (ServerURL, error) {
	u, err := url.Parse(s)
	if err != nil || !hasServerURLForm(u) {
		return ServerURL{}, fmt.Errorf("%w, not %q", ErrServerURL, s)
	}
	if !validHost(u.Host, u.Hostname()) {
		return ServerURL{}, fmt.Errorf("%w: host %q", ErrServerURL, u.Host)
	}
	port := uint64(DefaultPort)
	if u.Port() != "" {
		if port, err = strconv.ParseUint(u.Port(), 10, 16); err != nil || port == 0 {
			return ServerURL{}, fmt.Errorf("%w: port %q", ErrServerURL, u.Port())
		}
	}
	key, err := ParseID(u.Fragment)
	if err != nil {
		return ServerURL{}, fmt.Errorf("%w: KEY: %w", ErrServerURL, err)
	}
	return ServerURL{Host: u.Hostname(), Port: uint16(port), Key: key}, nil
}

// hasServerURLForm refuses the parts of a URL that would have no meaning.
func hasServerURLForm(u *url.URL) bool {
	return u.Scheme == "peerd" && u.Opaque == "" && u.User == nil && !u.ForceQuery && u.RawQuery == "" &&
		(u.Path == "" || u.Path == "/")
}

// validHost reports whether host, which net/url took from hostport, is written
// as it will be written again: an IPv6 address, and nothing else, in brackets.
func validHost(hostport, host string) bool {
	if strings.HasPrefix(hostport, "[") {
		addr, err := netip.ParseAddr(host)
		return err == nil && addr.Is6() && isASCIIName(addr.Zone())
	}
	return host != "" && isASCIIName(host)
}

// isASCIIName reports whether s consists of what domain names and zones do and
// is not longer than a domain name (RFC 1035, section 2.3.4). Names in other
// scripts are written in their ASCII form (RFC 5890).
func isASCIIName(s string) bool {
	const other = "-._"
	for _, c := range []byte(s) {
		if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && strings.IndexByte(other, c) < 0 {
			return false
		}
	}
	return len(s) <= 255
}

// HostPort returns host:port, with brackets around an IPv6 address.
func (u ServerURL) HostPort() string {
	return net.JoinHostPort(u.Host, strconv.Itoa(int(u.Port)))
}

// String returns the URL in the form that ParseServerURL takes.
func (u ServerURL) String() string {
	// The zone's separator is escaped in URLs (RFC 6874).
	return "peerd://" + strings.Replace(u.HostPort(), "%", "%25", 1) + "#" + u.Key.String()
}
