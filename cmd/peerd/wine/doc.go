// Package wine has tests only. They run the Windows program for real, under
// Wine: it serves, registers and carries transfers, to Linux and to itself.
//
// Wine passes sockets on to Linux, which lets SO_REUSEADDR share a port only
// while nobody listens on it. So this is a system on which a node has no
// listener and can only dial, and where it has to find that out by itself.
package wine
