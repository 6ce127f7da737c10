// Package stream carries any number of streams over one secure connection. It
// is stage [6] of the flow: hashicorp/yamux behind a small API in which an
// abort is never mistaken for an end.
//
// On a yamux stream travel one control message in each direction (proto.Open
// and proto.Opened) and then chunks: a length of four bytes, big endian, and as
// many bytes. Length 0 is END, the end of that direction. A stream or session
// that ends without END was aborted, and reading says so with ErrAborted. An end
// that closes after its own END, but without having read the other's, sends one
// byte before the FIN, so that nobody takes the FIN for a receipt.
//
// yamux numbers the streams, opens and closes them, and keeps what has arrived
// until it is read. Between it and the connection are two things of this
// package's own:
//
//	Stream.Write ── chunks ──────────▶ outbox ── one goroutine ──▶ connection
//	yamux ── SYN, ACK, FIN, ping ────▶
//	yamux ◀── frames, cut to what has arrived ── inbox ◀────────── connection
//
// Nobody but the outbox's goroutine ever waits for the connection, so a deadline
// or Close ends every wait, also while the connection stalls. Write returns when
// the outbox has its bytes.
//
// # Memory
//
// A session holds at most 0.5 MiB that is to be sent, whatever the number of
// streams, and nothing of that while it is idle; on a slow connection 64 KiB.
// What the other end can make it hold is the sum of the windows granted: 256 KiB
// for each stream, and 64 MiB that they share beyond that; yamux's buffers may take
// twice as much. With all streams in use that is 320 MiB. A stream that is idle
// for a few seconds holds 1.5 KiB.
package stream
