package reuse

import (
	"time"

	"golang.org/x/sys/unix"
)

// What an earlier connection between the same two endpoints has left on the way
// reaches the socket that dials anew: in SYN_SENT the kernel answers it with a
// RST (RFC 9293, 3.10.7.3) and repeats its SYN at once, with the normal TTL. Both
// do harm. NATs on the way take the RST for one of the new connection: netfilter
// holds that for closed then, for ten seconds, if the RST passes between the SYN
// and the SYN-ACK. And the SYN of a quiet dial is not quiet any more.
//
// Such a segment is told by its timestamps (RFC 7323): it echoes what the kernel's
// clock was when that connection sent. The clock goes on from one connection of a
// 4-tuple to the next.

const (
	// staleSlack is by how much the clock may be ahead of what we make of it, in
	// its ticks: the least bit of what the kernel says means something else.
	staleSlack = 2
	// half of the clock's range and more ahead means behind (RFC 7323, 5.2).
	half = 1 << 31

	timestampsOnly = 0x0101080a // NOP, NOP, Timestamps, 10 bytes: what Linux sends
)

// dropStale has a socket that has just sent its SYN pass over what is left of
// connections that were there before the given time ago. Where the system or the
// far end has no timestamps, it is as it was. The clock's ticks are milliseconds,
// or more in old kernels, where less is told.
func dropStale(fd int, ago time.Duration) error {
	now, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_TIMESTAMP)
	if err != nil {
		return err
	}
	program := staleFilter(uint32(now) - uint32(ago.Milliseconds()) - staleSlack)
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]})
}

// takeStale undoes dropStale.
func takeStale(fd int) error {
	err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DETACH_FILTER, 0)
	if err == unix.ENOENT {
		return nil // there was none
	}
	return err
}

// Offsets in the TCP header, and the flags.
const (
	tcpOffset, tcpFlags         = 12, 13
	tcpOptions, tcpEcho         = 20, 28
	flagSYN, flagACK            = 0x02, 0x10
	withTimestamps, acceptWhole = 8 << 4, 1<<32 - 1
)

// staleFilter drops a segment that acknowledges something, is no SYN-ACK, and echoes
// a timestamp older than the oldest. A refusal of our SYN has none, or that SYN's.
func staleFilter(oldest uint32) []unix.SockFilter {
	load := func(size uint16, at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | size | unix.BPF_ABS, K: at}
	}
	jump := func(test uint16, k uint32, yes, no uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | test | unix.BPF_K, K: k, Jt: yes, Jf: no}
	}
	return []unix.SockFilter{
		load(unix.BPF_B, tcpFlags),
		{Code: unix.BPF_ALU | unix.BPF_AND | unix.BPF_K, K: flagSYN | flagACK},
		jump(unix.BPF_JEQ, flagACK, 0, 8),
		load(unix.BPF_B, tcpOffset),
		jump(unix.BPF_JGE, withTimestamps, 0, 6),
		load(unix.BPF_W, tcpOptions),
		jump(unix.BPF_JEQ, timestampsOnly, 0, 4),
		load(unix.BPF_W, tcpEcho),
		{Code: unix.BPF_ALU | unix.BPF_SUB | unix.BPF_K, K: oldest},
		jump(unix.BPF_JGE, half, 0, 1),
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
		{Code: unix.BPF_RET | unix.BPF_K, K: acceptWhole},
	}
}
