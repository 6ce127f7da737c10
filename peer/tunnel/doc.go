// Package tunnel joins streams to what is at their ends: sockets, pipes and
// standard input and output. It is stage [7] of the flow. Ends are passed on as
// ends, and aborts as aborts.
package tunnel
