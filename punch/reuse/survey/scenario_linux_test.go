package survey

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

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
