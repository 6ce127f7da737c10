// Package rendezvous holds the server at which peers register and through
// which they are introduced to each other, and the client that a node keeps
// registered there.
//
// The server observes each client's endpoint, measures its round trip and
// hands both sides of an introduction the same transcript, from which they
// derive the same punching plan. It learns nothing else: what peers say to
// each other does not pass through it. It also answers STUN Binding requests
// over TCP (RFC 8489) on its main port and on its probe ports, and sends single
// SYNs to clients that ask for them, so that they can find out what their NATs do.
//
// A registration is a pair of peer ID and instance. The ID is proven in the
// TLS handshake, the instance is a random token of one process, so a command
// that runs beside a daemon with the same key evicts nobody.
package rendezvous
