// Package peer is the embedding API of peerd: a Node registers with a
// rendezvous server, connects to peers through NATs and carries streams to the
// targets that they expose.
//
// It is the only package that assembles the stages, and it owns every
// long-lived goroutine:
//
//	[1] reuse ─ [2],[3] punch ─ [4] identity ─ [5] attach ─ [6] stream ─ [7] tunnel
//	   node.go      meeting.go       secure.go    attach.go    session.go   expose.go
//
// By default a node answers nobody and exposes nothing.
package peer
