//go:build unix

package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"

	"github.com/peerd/peerd/peer/tunnel"
	"github.com/rogpeppe/go-internal/testscript"
)

// sock is a program for the scripts: it joins standard input and output to what
// listens at an address, and says how that ended. With two addresses, the first
// one is that of a SOCKS proxy.
//
// Its exit codes: 0 both sides have ended, 1 the connection was reset, 2 another
// failure, 10 plus the proxy's reply where that refuses.
func sock() {
	code, err := sockThrough(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "sock:", err)
	}
	os.Exit(code)
}

func sockThrough(args []string) (code int, err error) {
	network := "tcp"
	if strings.HasPrefix(args[0], "unix:") {
		network, args[0] = "unix", strings.TrimPrefix(args[0], "unix:")
	}
	conn, err := net.Dial(network, args[0])
	switch {
	case errors.Is(err, syscall.ECONNRESET): // before connect has returned
		return 1, err
	case err != nil:
		return 2, err
	}
	defer conn.Close()
	if len(args) > 1 {
		if reply, err := askProxy(conn, args[1]); reply != 0 || err != nil {
			return 10 + int(reply), err
		}
	}
	end := tunnel.NewSocket(conn) // reports a reset that a write was told of
	go func() {
		io.Copy(end, os.Stdin)
		end.CloseWrite()
	}()
	switch _, err := io.Copy(os.Stdout, end); {
	case errors.Is(err, syscall.ECONNRESET):
		return 1, err
	case err != nil:
		return 2, err
	}
	return 0, nil
}

// askProxy asks a SOCKS proxy for a target by name.
func askProxy(conn net.Conn, target string) (reply byte, err error) {
	host, portText, _ := net.SplitHostPort(target)
	port, _ := strconv.Atoi(portText)
	request := append([]byte{5, 1, 0, 5, 1, 0, 3, byte(len(host))}, host...)
	conn.Write(append(request, byte(port>>8), byte(port)))
	var answer [12]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return 0, err
	}
	return answer[3], nil
}

// cmdForward waits for a line about a forward, and keeps the place where it
// listens.
func cmdForward(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: forward FILE TARGET VARIABLE")
	}
	pattern := regexp.MustCompile(`(?m)^forward (?:\S+ )?(\S+) -> (?:\S+ )?` + regexp.QuoteMeta(args[1]) + `$`)
	var found []string
	eventually(ts, "no forward to "+args[1], func() bool {
		found = pattern.FindStringSubmatch(ts.ReadFile(args[0]))
		return found != nil
	})
	ts.Setenv(args[2], found[1])
}
