// Package reuse holds the one local TCP port of a node, stage [1] of the flow:
// the rendezvous connection, the listener and every dial share it, so that a
// NAT sees one internal endpoint.
//
// Claim makes sure that nobody else listens on the port, opens one listener per
// address family and, where the operating system can, pins the port: on Linux
// another process of the same user that also sets SO_REUSEPORT gets none of
// the node's inbound connections. What a system can do stands in the files
// with its suffix.
package reuse
