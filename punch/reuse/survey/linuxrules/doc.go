// Package linuxrules says what Linux answers when an ip:port is wanted by
// several sockets: the rules of the kernel (6.18), written again as a
// model of a few functions, each named after the one in the kernel that it
// follows. The rules open no socket.
//
// It was written from the kernel's source and not from what package survey
// measured, so that either can be wrong and the other tells: Differ compares
// every row of a survey with what the rules say. Check makes such a survey and
// compares it; it takes about 0.2 s, so that a hundred can follow each other:
//
//	h, err := survey.Open()
//	…
//	for range 100 {
//		cells, differ, err := linuxrules.Check(ctx, h)
//		…
//		for _, d := range differ { … d.String() names the cell, and what was seen instead … }
//	}
//
// What the rules leave out, since it does not occur in a survey: SO_BINDTODEVICE,
// VRFs, transparent sockets, IP_FREEBIND, ephemeral ports, IPv4-mapped
// addresses.
package linuxrules
