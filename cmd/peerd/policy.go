package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/peerd/peerd/cmd/peerd/authorized"
	"github.com/peerd/peerd/peer"
	"github.com/peerd/peerd/proto"
)

// share gives a node what the settings let other peers do here: expose, allow,
// and the file authorized_peers, which is read again whenever it has changed. It
// returns how many peers may connect now.
func (p *program) share(cmd *cobra.Command, cfg *peer.Config) (peers int, err error) {
	exposed := p.settings.list(cmd, "expose")
	if cfg.Expose, err = parseExposed(exposed, p.settings.origin("expose")); err != nil {
		return 0, &usageError{cmd, err.Error()}
	}
	allowed := p.settings.list(cmd, "allow")
	if cfg.Allow, err = p.parseAllowed(allowed, p.settings.origin("allow")); err != nil {
		return 0, &usageError{cmd, err.Error()}
	}
	path, err := p.settings.beside(authorizedName)
	if err != nil {
		return len(cfg.Allow), nil // no place for such a file
	}
	live := authorized.NewLive(path, cfg.Logger)
	cfg.Authorize = func(id proto.ID) (peer.Grant, bool) {
		line, ok := live.Peer(id)
		return peer.Grant{Open: line.Open, Listen: line.Listen}, ok
	}
	return len(cfg.Allow) + live.Len(), nil
}

// parseExposed parses the values of --expose.
func parseExposed(values []string, origin string) (map[string]string, error) {
	exposed := make(map[string]string)
	for _, value := range values {
		target, addr, named := strings.Cut(value, "=")
		if strings.HasPrefix(target, "/") { // as whoever opens it may write it
			target = "unix:" + target
		}
		if !named {
			addr = target
		}
		if err := checkTarget(target); err != nil {
			return nil, fmt.Errorf("%s %q: %w", origin, value, err)
		}
		addr, err := targetAddr(addr)
		if err != nil {
			return nil, fmt.Errorf("%s %q: %w", origin, value, err)
		}
		if _, twice := exposed[target]; twice {
			return nil, fmt.Errorf("%s %q: target %s is there twice", origin, value, target)
		}
		exposed[target] = addr
	}
	return exposed, nil
}

// targetAddr returns the address that a port number, HOST:PORT or unix:/PATH
// stands for.
func targetAddr(text string) (string, error) {
	if strings.HasPrefix(text, "/") {
		text = "unix:" + text
	}
	if path, ok := strings.CutPrefix(text, "unix:"); ok {
		if !strings.HasPrefix(path, "/") {
			return "", fmt.Errorf("%q: the path of a unix socket begins with /", text)
		}
		return text, nil
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		host, port = "127.0.0.1", text
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || host == "" {
		return "", fmt.Errorf("%q is not a port number or HOST:PORT; a name needs one, as in web=127.0.0.1:80", text)
	}
	return net.JoinHostPort(host, port), nil
}

// parseAllowed parses the values of --allow. Those that stand for a peer are
// returned even if others are wrong.
func (p *program) parseAllowed(values []string, origin string) (ids []proto.ID, err error) {
	var errs []error
	for _, value := range values {
		id, err := p.lookUp(value)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %q: %w", origin, value, err))
			continue
		}
		ids = append(ids, id)
	}
	return ids, errors.Join(errs...)
}

// checkTarget checks a TARGET as far as that is possible here.
func checkTarget(target string) error {
	if target == "" || len(target) > proto.MaxTarget {
		return fmt.Errorf("a target has 1 to %d bytes", proto.MaxTarget)
	}
	for _, c := range []byte(target) {
		if c <= ' ' || c == 0x7f {
			return errors.New("a target has no spaces")
		}
	}
	return nil
}
