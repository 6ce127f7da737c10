package tunnel

import (
	"net/netip"
	"strings"
	"testing"
)

func TestCheckOpen(t *testing.T) {
	for _, entry := range []string{
		"web", "22", "1", "65535", "db.lan:5432", "DB.lan:*", "192.168.1.10:80", "[::1]:22", "[fe80::1%eth0]:22",
		"10.0.0.0/8:80", "10.0.0.0/8:*", "[fd00::/8]:443", "*", "*:443", "*:*", "unix:/run/docker.sock",
	} {
		if err := CheckOpen(entry); err != nil {
			t.Errorf("CheckOpen(%q): %v", entry, err)
		}
	}
	for _, entry := range []string{
		"", "0", "65536", "two words", ":22", "host:", "host:0", "host:65536", "host:http", "::1:22", "[host]:22", "[::1]22",
		"10.0.0.1/8:80", "10.0.0.0/33:80", "fd00::/8:443", "10.0.0.0/:80", "unix:", "unix:relative", "*x:80", "a/b:80",
		"web\n", "unix:/new\nline", strings.Repeat("x", 256), strings.Repeat("x", 256) + ":1",
	} {
		if CheckOpen(entry) == nil {
			t.Errorf("CheckOpen(%q): nil, want an error", entry)
		}
	}
}

func TestCheckListen(t *testing.T) {
	for _, entry := range []string{"8080", "*", "localhost:8080", "192.168.1.5:*", "[::1]:80", "*:8080", "*:*", "unix:/run/s"} {
		if err := CheckListen(entry); err != nil {
			t.Errorf("CheckListen(%q): %v", entry, err)
		}
	}
	for _, entry := range []string{"", "0", "web", "10.0.0.0/8:80", "host:", "unix:s", "*:0"} {
		if CheckListen(entry) == nil {
			t.Errorf("CheckListen(%q): nil, want an error", entry)
		}
	}
}

// What a target's host stands for decides, not how it is written.
func TestPermittedAddresses(t *testing.T) {
	for _, test := range []struct {
		permit string
		target string
		addrs  string // that the host has; where it is one, itself
		want   string // those that may be dialled
	}{
		{"22", "127.0.0.1:22", "127.0.0.1", "127.0.0.1:22"},
		{"22", "127.0.0.1:23", "127.0.0.1", ""},
		{"22", "localhost:22", "::1 127.0.0.1", "[::1]:22 127.0.0.1:22"},
		{"22", "192.168.1.10:22", "192.168.1.10", ""},
		{"22", "0.0.0.0:22", "0.0.0.0", ""},
		{"22", "inside.example:22", "127.0.0.1 192.168.1.10", "127.0.0.1:22"},

		{"db.lan:5432", "db.lan:5432", "10.0.0.7", "10.0.0.7:5432"},
		{"db.lan:5432", "DB.LAN:5432", "10.0.0.7", "10.0.0.7:5432"},
		{"DB.lan:*", "db.lan:1", "127.0.0.1", "127.0.0.1:1"}, // it is named
		{"db.lan:5432", "db.lan.:5432", "10.0.0.7", ""},
		{"db.lan:5432", "xdb.lan:5432", "10.0.0.7", ""},
		{"db.lan:5432", "db.lan:5433", "10.0.0.7", ""},
		{"192.168.1.10:80", "192.168.1.10:80", "192.168.1.10", "192.168.1.10:80"},
		{"192.168.1.10:80", "[::ffff:192.168.1.10]:80", "::ffff:192.168.1.10", "192.168.1.10:80"},
		{"192.168.1.10:80", "router.lan:80", "192.168.1.10 192.168.1.11", "192.168.1.10:80"},
		{"127.0.0.1:80", "127.0.0.2:80", "127.0.0.2", ""},
		{"[::1]:80", "[::1]:80", "::1", "[::1]:80"},
		{"[::1]:80", "[0:0::1]:80", "::1", "[::1]:80"},
		{"[::1]:80", "127.0.0.1:80", "127.0.0.1", ""},

		{"10.0.0.0/8:80", "10.1.2.3:80", "10.1.2.3", "10.1.2.3:80"},
		{"10.0.0.0/8:80", "[::ffff:10.1.2.3]:80", "::ffff:10.1.2.3", "10.1.2.3:80"},
		{"10.0.0.0/8:80", "11.1.2.3:80", "11.1.2.3", ""},
		{"10.0.0.0/8:80", "rebound.example:80", "127.0.0.1 10.1.2.3 8.8.8.8", "10.1.2.3:80"},
		{"0.0.0.0/0:80", "127.0.0.1:80", "127.0.0.1", ""},
		{"0.0.0.0/0:80", "8.8.8.8:80", "8.8.8.8", "8.8.8.8:80"},
		{"126.0.0.0/7:80", "127.0.0.1:80", "127.0.0.1", ""},
		{"127.0.0.0/8:80", "127.0.0.1:80", "127.0.0.1", "127.0.0.1:80"},
		{"[::/0]:80", "[::1]:80", "::1", ""},
		{"[::1/128]:80", "[::1%lo]:80", "::1%lo", "[::1%lo]:80"},
		{"169.254.0.0/16:80", "169.254.169.254:80", "169.254.169.254", "169.254.169.254:80"},
		{"[fe80::/10]:22", "[fe80::1%eth0]:22", "fe80::1%eth0", "[fe80::1%eth0]:22"},
		{"[fd00::/8]:*", "[fd12::1]:9", "fd12::1", "[fd12::1]:9"},
		{"[64:ff9b::/96]:80", "[64:ff9b::7f00:1]:80", "64:ff9b::7f00:1", ""},

		{"*", "93.184.216.34:80", "93.184.216.34", "93.184.216.34:80"},
		{"*:*", "10.0.0.1:80", "10.0.0.1", "10.0.0.1:80"},
		{"*:443", "10.0.0.1:443", "10.0.0.1", "10.0.0.1:443"},
		{"*:443", "10.0.0.1:80", "10.0.0.1", ""},
		{"*", "127.0.0.1:80", "127.0.0.1", ""},
		{"*", "127.255.255.254:80", "127.255.255.254", ""},
		{"*", "[::ffff:127.0.0.1]:80", "::ffff:127.0.0.1", ""},
		{"*", "[::127.0.0.1]:80", "::127.0.0.1", ""},
		{"*", "0.0.0.0:80", "0.0.0.0", ""},
		{"*", "[::ffff:0.0.0.0]:80", "::ffff:0.0.0.0", ""},
		{"*", "0.1.2.3:80", "0.1.2.3", ""},
		{"*", "[::]:80", "::", ""},
		{"*", "[::1]:80", "::1", ""},
		{"*", "[::1%lo]:80", "::1%lo", ""},
		{"*", "169.254.169.254:80", "169.254.169.254", ""},
		{"*", "[::ffff:169.254.169.254]:80", "::ffff:169.254.169.254", ""},
		{"*", "[fe80::1%eth0]:80", "fe80::1%eth0", ""},
		{"*", "[febf::1]:80", "febf::1", ""},
		{"*", "224.0.0.1:80", "224.0.0.1", ""},
		{"*", "[ff02::1%eth0]:80", "ff02::1%eth0", ""},
		{"*", "255.255.255.255:80", "255.255.255.255", ""},
		{"*", "[64:ff9b::7f00:1]:80", "64:ff9b::7f00:1", ""},
		{"*", "[2002:7f00:1::]:80", "2002:7f00:1::", ""},
		{"*", "[64:ff9b::808:808]:80", "64:ff9b::808:808", "[64:ff9b::808:808]:80"},
		{"*", "localhost:80", "127.0.0.1 ::1", ""},
		{"*", "LOCALHOST:80", "127.0.0.1", ""},
		{"*", "localhost.:80", "127.0.0.1", ""},
		{"*", "rebound.example:80", "::ffff:127.0.0.1 93.184.216.34", "93.184.216.34:80"},
		{"*", "2130706433:80", "127.0.0.1", ""}, // as some resolvers have it
		{"*", "0177.0.0.1:80", "127.0.0.1", ""},
		{"*", "0x7f.1:80", "127.0.0.1", ""},
		{"* 127.0.0.1:80", "127.0.0.1:80", "127.0.0.1", "127.0.0.1:80"},

		// Names and sockets are no hosts, and an entry that is wrong permits nothing.
		{"web unix:/run/s", "web:80", "10.0.0.1", ""},
		{"*:http ::1:80 10.0.0.1/8:80", "10.0.0.1:80", "10.0.0.1", ""},
		{"", "10.0.0.1:80", "10.0.0.1", ""},
	} {
		host, port, err := hostAndPort(test.target)
		if err != nil {
			t.Errorf("hostAndPort(%q): %v", test.target, err)
		}
		var addrs []netip.Addr
		for _, text := range strings.Fields(test.addrs) {
			addrs = append(addrs, netip.MustParseAddr(text))
		}
		permit := rules(strings.Fields(test.permit), parseOpenRule)
		var got []string
		for _, to := range permitted(permit, host, port, addrs) {
			got = append(got, to.String())
		}
		if strings.Join(got, " ") != test.want {
			t.Errorf("permit-open %q: %s (%s) may be dialled at %q, want %q", test.permit, test.target, test.addrs, got, test.want)
		}
	}
}

func TestPermitListen(t *testing.T) {
	for permit, binds := range map[string]struct{ yes, no string }{
		"8080":             {"8080 localhost:8080 LocalHost:8080 127.0.0.1:8080 127.0.0.2:8080 [::1]:8080 [::ffff:127.0.0.1]:8080", "8081 0 *:8080 :8080 0.0.0.0:8080 [::]:8080 192.168.1.5:8080 name:8080 unix:/run/s /run/s"},
		"*":                {"8080 0 localhost:1 [::1%lo]:1", "*:8080 0.0.0.0:0 10.0.0.1:0 unix:/run/s localhost.evil:1"},
		"192.168.1.5:80":   {"192.168.1.5:80 [::ffff:192.168.1.5]:80", "80 192.168.1.5:81 192.168.1.5:0 *:80"},
		"192.168.1.5:*":    {"192.168.1.5:80 192.168.1.5:0", "192.168.1.6:80 0"},
		"localhost:80":     {"80 127.0.0.1:80 localhost:80", "81 *:80 [::1]:80"},
		"name.example:80":  {"name.example:80 NAME.example:80", "80 other.example:80"},
		"0.0.0.0:80":       {"0.0.0.0:80", "80 *:80 [::]:80"},
		"*:80":             {"80 *:80 :80 10.0.0.1:80 [::]:80 name:80", "81 0"},
		"*:*":              {"0 80 *:0 [::]:0", "unix:/run/s"},
		"unix:/run/s":      {"unix:/run/s /run/s", "unix:/run/s2 unix:/run/../run/s unix:run/s 80"},
		"wrong:entry 10/8": {"", "80 * wrong:1"},
	} {
		list := rules(strings.Fields(permit), parseListenRule)
		listens := func(text string) bool {
			b, err := ParseBind(text)
			if err != nil {
				return false
			}
			for _, r := range list {
				if r.listens(b.canonical()) {
					return true
				}
			}
			return false
		}
		for _, text := range strings.Fields(binds.yes) {
			if !listens(text) {
				t.Errorf("permit-listen %q does not permit %q", permit, text)
			}
		}
		for _, text := range strings.Fields(binds.no) {
			if listens(text) {
				t.Errorf("permit-listen %q permits %q", permit, text)
			}
		}
	}
}

// FuzzRule checks that no target is opened at an address of special use by an
// entry that does not name it.
func FuzzRule(f *testing.F) {
	f.Add("*:80", "localhost:80", []byte{127, 0, 0, 1})
	f.Add("[::/0]:*", "x:1", make([]byte, 16))
	f.Fuzz(func(t *testing.T, entry, target string, raw []byte) {
		r, err := parseOpenRule(entry)
		if (err == nil) != (CheckOpen(entry) == nil) {
			t.Fatal("CheckOpen disagrees with the parser")
		}
		addr, ok := netip.AddrFromSlice(raw)
		host, port, herr := hostAndPort(target)
		if err != nil || !ok || herr != nil {
			return
		}
		addr = addr.Unmap()
		if r.opens(host, netip.AddrPortFrom(addr, port)) && r.scope == ordinary && isSpecial(addr) {
			t.Errorf("%q opens %v", entry, addr)
		}
		if r.opens(host, netip.AddrPortFrom(addr, port)) && !r.mayOpen(host, port) {
			t.Errorf("%q opens %v:%d, which mayOpen denies", entry, addr, port)
		}
	})
}
