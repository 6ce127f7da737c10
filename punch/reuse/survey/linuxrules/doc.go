// Package linuxrules says what Linux answers when an ip:port is wanted by
// several sockets: the rules of the kernel (6.12 to 6.18), written again as a
// model of a few functions, each named after the one in the kernel that it
// follows. It opens no socket.
//
// It was written from the kernel's source and not from what package survey
// measured, so that either can be wrong and the other tells: Differ compares
// every row of a survey with what the rules say. Check makes such a survey and
// compares it; it takes about 0.2 s, so that a hundred can follow each other:
//
//	h, err := survey.Open()
//	…
//	for range 100 {
//		cells, differ, err := linuxrules.Check(h)
//		…
//		for _, d := range differ { … d.String() names the cell, and what was seen instead … }
//	}
//
// What the rules leave out: the caches of a bind bucket (fastreuse,
// fastreuseport) answer sooner and never otherwise for sockets of one user;
// SO_BINDTODEVICE, VRFs, transparent sockets, IP_FREEBIND, ephemeral ports and
// IPv4-mapped addresses do not occur in a survey.
package linuxrules
