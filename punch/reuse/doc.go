// Package reuse holds the one local TCP port of a node, stage [1] of the flow:
// the rendezvous connection, the listener and every dial share it, so that a
// NAT sees one internal endpoint.
//
// How far a port can be shared depends on the operating system, and not always
// as its manual says. Probe tries it out, and says which Mode is the best that
// works. Claim makes sure that nobody else uses the port and takes it in a mode:
// with one listener per address family and, where the operating system can,
// pinned, so that on Linux another process of the same user that also sets
// SO_REUSEPORT and listens on all addresses gets none of the node's inbound
// connections (one that listens on a single address gets those to it, pinned or
// not); or without.
//
// What is known of a system stands in its file, system_*.go.
package reuse
