package proto

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
)

// ServerURL names a rendezvous server and the key that it must prove:
// peerd://host:port#KEY, where KEY is the server's ID.
type ServerURL struct {
	Host string // name or IP address
	Port uint16
	Key  ID
}

// DefaultPort is the port of a server whose URL does not name one.
const DefaultPort = 7878

// ErrServerURL is wrapped by every error of ParseServerURL.
var ErrServerURL = errors.New("a server's URL has the form peerd://host:port#KEY")

// ParseServerURL parses the URL as `peerd serve` prints it.
func ParseServerURL(s string) (ServerURL, error) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "peerd" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || (u.Path != "" && u.Path != "/") {
		return ServerURL{}, fmt.Errorf("%w, not %q", ErrServerURL, s)
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

// HostPort returns host:port, with brackets around an IPv6 address.
func (u ServerURL) HostPort() string {
	return net.JoinHostPort(u.Host, strconv.Itoa(int(u.Port)))
}

// String returns the URL in the form that ParseServerURL takes.
func (u ServerURL) String() string { return "peerd://" + u.HostPort() + "#" + u.Key.String() }
