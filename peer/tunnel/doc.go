// Package tunnel joins streams to what is at their ends: sockets, pipes and
// standard input and output. It is stage [7] of the flow.
//
// Connections come in at an Entry, where a Forward says what listens and where
// they go, and leave at an Exit, which knows what a peer may open. Join is in
// between: ends are passed on as ends, and aborts as aborts.
package tunnel
