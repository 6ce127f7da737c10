package reuse

import (
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// fromICMP is what a dial ends with at ICMP errors: icmp_err_convert and
// tab_unreach of the kernel, all of which are final in SYN_SENT, but for port unreachable,
// ECONNREFUSED, which a RST leads to as well. Firewalls choose among them: administratively
// prohibited is EHOSTUNREACH for IPv4 and EACCES for IPv6.
var fromICMP = []syscall.Errno{unix.ENETUNREACH, unix.EHOSTUNREACH, unix.ENOPROTOOPT, unix.EOPNOTSUPP, unix.EHOSTDOWN, unix.ENONET, unix.EACCES, unix.EPROTO}

// linux are the errors of Linux and Android.
var linux = func() errnos {
	e := posix
	e.refused, e.icmp = slices.Concat(posix.refused, fromICMP), fromICMP
	return e
}()
