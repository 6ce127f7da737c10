// Package proto is the vocabulary that peers and servers share on the wire:
// peer IDs, candidates, framing, control messages, the introduction transcript,
// the punch preamble and the session records, with every hard limit.
//
// It opens no sockets and starts no goroutines. spec.md in this directory
// describes the same layouts for a second implementation, and testdata holds
// vectors that both must reproduce.
package proto
