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
package stream
