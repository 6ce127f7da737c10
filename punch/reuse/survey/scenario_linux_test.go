package survey

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestLinuxScenarios holds the answers to what Linux is known to do.
func TestLinuxScenarios(t *testing.T) {
	for _, s := range mustAnswer(t, mustOpen(t)) {
		if s.Skipped != "" {
			if s.Name != "exclusive" && (s.Name != "hijack" || os.Geteuid() == 0) {
				t.Errorf("%s, %s: skipped: %s", s.Name, s.Variant, s.Skipped)
			}
			continue
		}
		if want := onLinux(s.Name, s.Variant); s.Result != want {
			t.Errorf("%s, %s: %q, want %q", s.Name, s.Variant, s.Result, want)
		}
	}
}

// onLinux returns the answer that Linux gives. Two sockets of one user share a
// port if both have SO_REUSEPORT, or both SO_REUSEADDR and none listens.
func onLinux(name, variant string) string {
	context, options := "", variant
	if i := strings.LastIndex(variant, ", "); i >= 0 {
		context, options = variant[:i], variant[i+2:]
	}
	first, second := pairOf(options)
	either := func(ok bool, yes, no string) string {
		if ok {
			return yes
		}
		return no
	}
	addr, port := first&second&Addr != 0, first&second&Port != 0
	switch name {
	case "listener plus dialer":
		if context == "listener first" {
			return either(port, "both work", "dialer: bind EADDRINUSE")
		}
		return either(addr || port, "both work", "listener: bind EADDRINUSE")
	case "two dialers":
		return either(addr || port, "both work", "second: bind EADDRINUSE")
	case "listen again", "bind over TIME_WAIT":
		return either(addr || port, "works", "second: bind EADDRINUSE")
	case "connect over TIME_WAIT":
		return either(addr || port, "connects", "second: bind EADDRINUSE")
	case "hijack":
		if !port || strings.HasPrefix(context, "another user") {
			return "it: bind EADDRINUSE"
		}
		return either(context == "the same user, ours pinned", "it gets none", "it gets some")
	}
	return linuxAnswers[name+"|"+variant]
}

func pairOf(text string) (first, second Options) {
	a, b, _ := strings.Cut(text, "/")
	for _, o := range allOptions {
		if o.String() == a {
			first = o
		}
		if o.String() == b {
			second = o
		}
	}
	return first, second
}

var linuxAnswers = map[string]string{
	"same 4-tuple|first connecting":                           "second: connect EADDRNOTAVAIL",
	"same 4-tuple|first connecting and closed":                "second: connects",
	"same 4-tuple|first connected":                            "second: connect EADDRNOTAVAIL",
	"same 4-tuple|first accepted by a listener of the port":   "second: connect EADDRNOTAVAIL",
	"dialled in TIME_WAIT|a listener here":                    "connects",
	"dialled in TIME_WAIT|no listener here":                   "connect ECONNREFUSED, and the TIME_WAIT is gone",
	"linger|closed first, SO_LINGER off":                      "TIME_WAIT; the other side sees an end",
	"linger|closed first, SO_LINGER 5 s":                      "TIME_WAIT; the other side sees an end",
	"linger|closed first, SO_LINGER 0 s":                      "no TIME_WAIT; the other side sees ECONNRESET",
	"linger|closed second, SO_LINGER off":                     "no TIME_WAIT; the other side sees an end",
	"two listeners|-":                                         "second: bind EADDRINUSE",
	"two listeners|A":                                         "second: bind EADDRINUSE",
	"two listeners|P":                                         "the second gets some",
	"two listeners|AP":                                        "the second gets some",
	"two listeners|first pinned, AP":                          "the second gets none",
	"two listeners|wildcard then 127.0.0.1, A":                "second: bind EADDRINUSE",
	"two listeners|127.0.0.1 then wildcard, A":                "second: bind EADDRINUSE",
	"two listeners|wildcard then 127.0.0.1, AP":               "the second gets all",
	"two listeners|127.0.0.1 then wildcard, AP":               "the second gets none",
	"two listeners|first pinned, wildcard then 127.0.0.1, AP": "the second gets all",
	"peer's SYN|SYN_SENT to it and a listener":                "the SYN_SENT socket gets it",
	"peer's SYN|SYN_SENT to it without a listener":            "the SYN_SENT socket gets it",
	"peer's SYN|a listener without SYN_SENT":                  "the listener gets it",
	"peer's SYN|a listener and SYN_SENT to another peer":      "the listener gets it",
	"peer's SYN|neither":                                      "nobody gets it; the peer: connect ECONNREFUSED",
}

// TestNothingIsLeft shows that neither descriptors nor sockets in any state
// remain, TIME_WAIT among them.
func TestNothingIsLeft(t *testing.T) {
	h := mustOpen(t)
	fds, sockets := descriptors(t), surveyed(t)
	tryAll(t, h)
	mustAnswer(t, h)
	if after := descriptors(t); after != fds {
		t.Errorf("%d descriptors, %d before", after, fds)
	}
	var left []string
	for end := time.Now().Add(othersTake); ; time.Sleep(100 * time.Millisecond) {
		left = nil
		for socket := range surveyed(t) {
			if !sockets[socket] {
				left = append(left, socket)
			}
		}
		if len(left) == 0 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("sockets are left: %q", left)
		}
	}
}

// othersTake is how long other surveys on this machine, of tests that run at the
// same time, may have a socket. TIME_WAIT takes a minute.
const othersTake = 5 * time.Second

func descriptors(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// surveyed returns the TCP sockets that the kernel has with a port number of
// surveys, as "local remote state".
func surveyed(t *testing.T) map[string]bool {
	t.Helper()
	found := make(map[string]bool)
	for _, file := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile("/proc/self/net/" + file)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			fields := strings.Fields(line)
			if number := portOf(fields[1]); number >= firstNumber && number < firstNumber+numbers {
				found[fmt.Sprintf("%s %s state %s", fields[1], fields[2], fields[3])] = true
			}
		}
	}
	return found
}

// portOf returns the number in "ADDRESS:PORT" of the kernel's list.
func portOf(text string) int {
	_, hex, _ := strings.Cut(text, ":")
	n, err := strconv.ParseInt(hex, 16, 32)
	if err != nil {
		return 0 // a heading
	}
	return int(n)
}
