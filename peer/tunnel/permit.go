package tunnel

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// Permitted reports whether permit-open has a target by its very name. It is
// how services are permitted, which have no address.
func Permitted(permit []string, target string) bool { return slices.Contains(permit, target) }

// CheckOpen checks an entry of permit-open:
//
//	NAME                   a target that is exposed by this name
//	PORT                   this port of the loopback
//	HOST:PORT, HOST:*      this host, by the very name that is asked for, or this address
//	NETWORK:PORT, …:*      addresses of this network, as in 10.0.0.0/8:80 or [fd00::/8]:*
//	*:PORT, *:*, *         any address but those of special use: the loopback,
//	                       link-local, multicast and unspecified ones
//	unix:/PATH             this unix socket
//
// A network has addresses of special use only if all of it is of such use.
func CheckOpen(entry string) error {
	_, err := parseOpenRule(entry)
	return err
}

// CheckListen checks an entry of permit-listen:
//
//	PORT, *                this port, any port of the loopback
//	HOST:PORT, HOST:*      this port, any port of this address
//	*:PORT, *:*            this port, any port of any address, and of all of them
//	unix:/PATH             this unix socket
func CheckListen(entry string) error {
	_, err := parseListenRule(entry)
	return err
}

// rule is an entry of permit-open or permit-listen that is not just a name.
// Exactly one of the first four says what it is about.
type rule struct {
	path    string       // a unix socket
	host    string       // in lower case; Network is its address if it is one
	network netip.Prefix // addresses
	scope   scope
	port    uint16 // 0: any
}

// scope is a class of addresses.
type scope byte

const (
	noScope  scope = iota
	loopback       // the loopback's addresses
	ordinary       // all but those of special use
	anywhere       // all
)

func parseOpenRule(entry string) (rule, error) {
	switch {
	case entry == "*":
		return rule{scope: ordinary}, nil
	case strings.HasPrefix(entry, unixPrefix), isNumber(entry):
		return parseLocalRule(entry)
	case !strings.Contains(entry, ":"):
		return rule{}, checkName(entry)
	}
	r, err := parseHostRule(entry)
	if r.host == "*" {
		r.host, r.scope = "", ordinary
	}
	return r, err
}

func parseListenRule(entry string) (rule, error) {
	switch {
	case entry == "*":
		return rule{scope: loopback}, nil
	case strings.HasPrefix(entry, unixPrefix), isNumber(entry):
		return parseLocalRule(entry)
	}
	r, err := parseHostRule(entry)
	switch {
	case err != nil:
		return rule{}, err
	case r.host == "":
		return rule{}, fmt.Errorf("%q: a network is nothing to listen on", entry)
	case r.host == "*":
		r.host, r.scope = "", anywhere
	}
	return r, nil
}

// parseLocalRule parses PORT or unix:/PATH.
func parseLocalRule(entry string) (rule, error) {
	if name, ok := strings.CutPrefix(entry, unixPrefix); ok {
		return rule{path: name}, checkUnixTarget(name)
	}
	port, err := parsePort(entry, 1)
	return rule{scope: loopback, port: port}, err
}

// parseHostRule parses HOST:PORT and NETWORK:PORT, where PORT may be *.
func parseHostRule(entry string) (rule, error) {
	i := strings.LastIndexByte(entry, ':')
	if i < 0 || len(entry) > maxTarget {
		return rule{}, fmt.Errorf("%q is not PORT, HOST:PORT or HOST:*", entry)
	}
	var r rule
	var err error
	if port := entry[i+1:]; port != "*" {
		if r.port, err = parsePort(port, 1); err != nil {
			return rule{}, err
		}
	}
	host, bracketed := strings.CutPrefix(entry[:i], "[")
	if bracketed {
		host, bracketed = strings.CutSuffix(host, "]")
	}
	if bracketed != strings.Contains(host, ":") {
		return rule{}, fmt.Errorf("%q: an IPv6 address, and nothing else, stands in brackets", entry)
	}
	return r, r.setHost(host)
}

// setHost sets what a rule is about: *, a network, an address or a name.
func (r *rule) setHost(host string) error {
	if strings.Contains(host, "/") {
		network, err := netip.ParsePrefix(host)
		switch {
		case err != nil:
			return fmt.Errorf("%q is not a network such as 10.0.0.0/8", host)
		case network != network.Masked():
			return fmt.Errorf("%s is an address in the network %s; write the one that is meant", host, network.Masked())
		}
		r.network = network
		return nil
	}
	r.host = strings.ToLower(host)
	if addr, err := netip.ParseAddr(host); err == nil {
		addr = addr.Unmap().WithZone("")
		r.network = netip.PrefixFrom(addr, addr.BitLen())
		return nil
	}
	if host == "*" {
		return nil
	}
	return checkHost(host)
}

// opens reports whether the rule permits connections to a host that has this
// address.
func (r rule) opens(host string, to netip.AddrPort) bool {
	addr := to.Addr().Unmap().WithZone("")
	switch {
	case r.port != 0 && r.port != to.Port():
		return false
	case r.host != "" && r.host == strings.ToLower(host):
		return true
	case r.network.IsValid():
		return r.network.Contains(addr) && (!isSpecial(addr) || isSpecialNetwork(r.network))
	case r.scope == loopback:
		return addr.IsLoopback()
	}
	return r.scope == ordinary && !isSpecial(addr)
}

// mayOpen reports whether the rule may permit connections to a host, whatever
// addresses it has: only then is its name looked up.
func (r rule) mayOpen(host string, port uint16) bool {
	return (r.port == 0 || r.port == port) &&
		(r.network.IsValid() || r.scope != noScope || r.host != "" && r.host == strings.ToLower(host))
}

// listens reports whether the rule permits listening there.
func (r rule) listens(b Bind) bool {
	if b.Path != "" {
		return r.path == b.Path
	}
	addr, err := netip.ParseAddr(b.Host)
	switch {
	case r.path != "" || r.port != 0 && r.port != b.Port:
		return false
	case r.scope == anywhere:
		return true
	case r.scope == loopback:
		return err == nil && addr.IsLoopback()
	case err == nil:
		return r.network.IsValid() && r.network.Contains(addr) || r.host == "localhost" && addr == localhost
	}
	return r.host == strings.ToLower(b.Host)
}

var localhost = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// specialNetworks are not what somebody means who permits any address: this
// host, its links, and groups (RFC 6890).
var specialNetworks = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"),
	netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"),
	netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("255.255.255.255/32"),
	netip.MustParsePrefix("::/96"),
	netip.MustParsePrefix("fe80::/10"),
	netip.MustParsePrefix("ff00::/8"),
}

// Prefixes of IPv6 addresses that stand for an IPv4 address: NAT64 (RFC 6052)
// and 6to4 (RFC 3056).
var (
	nat64     = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour = netip.MustParsePrefix("2002::/16")
)

// isSpecial reports whether an address is of special use. It has no zone, and
// is not an IPv4-mapped one.
func isSpecial(addr netip.Addr) bool {
	if addr.Is6() {
		switch b := addr.As16(); {
		case nat64.Contains(addr):
			addr = netip.AddrFrom4([4]byte(b[12:]))
		case sixToFour.Contains(addr):
			addr = netip.AddrFrom4([4]byte(b[2:]))
		}
	}
	return slices.ContainsFunc(specialNetworks, func(p netip.Prefix) bool { return p.Contains(addr) })
}

// isSpecialNetwork reports whether all of a network is of special use: who
// writes such a network means it.
func isSpecialNetwork(network netip.Prefix) bool {
	return slices.ContainsFunc(specialNetworks, func(p netip.Prefix) bool {
		return p.Bits() <= network.Bits() && p.Contains(network.Addr())
	})
}

// rules parses the entries; those that are wrong permit nothing.
func rules(entries []string, parse func(string) (rule, error)) []rule {
	var list []rule
	for _, entry := range entries {
		if r, err := parse(entry); err == nil && r != (rule{}) {
			list = append(list, r)
		}
	}
	return list
}
