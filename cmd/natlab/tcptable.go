package main

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"

	"github.com/peerd/peerd/punch/natlab"
)

// tcpState is the state of a socket, as linux/tcp_states.h counts them.
type tcpState uint8

const (
	tcpEstablished tcpState = 1
	tcpTimeWait    tcpState = 6
	tcpCloseWait   tcpState = 8
	tcpListen      tcpState = 10
)

func (s tcpState) String() string {
	names := [...]string{"", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT", "CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("state %d", uint8(s))
}

// tcpSocket is a line of a host's table of sockets.
type tcpSocket struct {
	local, remote netip.AddrPort
	state         tcpState
	unsent        uint64 // bytes that are not acknowledged yet
}

// tcpTable reads the host's table of IPv4 sockets.
func tcpTable(h *natlab.Host) (table []tcpSocket, err error) {
	var text []byte
	err = h.Do(func() (err error) {
		text, err = os.ReadFile("/proc/thread-self/net/tcp")
		return err
	})
	for line := range strings.Lines(string(text)) {
		if s, ok := parseTCPSocket(line); ok {
			table = append(table, s)
		}
	}
	return table, err
}

// parseTCPSocket parses a line of /proc/net/tcp; the first one is no socket.
func parseTCPSocket(line string) (s tcpSocket, ok bool) {
	const local, remote, state, queues = 1, 2, 3, 4 // proc(5)
	fields := strings.Fields(line)
	if len(fields) <= queues {
		return s, false
	}
	var okLocal, okRemote bool
	s.local, okLocal = parseHexAddr(fields[local])
	s.remote, okRemote = parseHexAddr(fields[remote])
	number, err := strconv.ParseUint(fields[state], 16, 8)
	s.state = tcpState(number)
	unsent, _, _ := strings.Cut(fields[queues], ":")
	s.unsent, _ = strconv.ParseUint(unsent, 16, 64)
	return s, okLocal && okRemote && err == nil
}

// parseHexAddr parses an address as /proc/net/tcp has it: the four bytes as
// a number of this machine, and the port.
func parseHexAddr(text string) (a netip.AddrPort, ok bool) {
	host, port, _ := strings.Cut(text, ":")
	ip, err := strconv.ParseUint(host, 16, 32)
	if err != nil {
		return a, false
	}
	n, err := strconv.ParseUint(port, 16, 16)
	var b [4]byte
	binary.NativeEndian.PutUint32(b[:], uint32(ip))
	return netip.AddrPortFrom(netip.AddrFrom4(b), uint16(n)), err == nil
}

// established returns the remote endpoints at an address to which the host has
// established TCP connections.
func established(h *natlab.Host, to netip.Addr) (list []netip.AddrPort, err error) {
	table, err := tcpTable(h)
	for _, s := range table {
		if s.state == tcpEstablished && s.remote.Addr() == to {
			list = append(list, s.remote)
		}
	}
	return list, err
}
