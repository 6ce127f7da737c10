// Package identity holds a node's Ed25519 key and makes the TLS 1.3
// configurations by which peers and servers prove their IDs to each other.
//
// Certificates are self-signed and carry nothing but the key: names and
// authorities are not used. Stage [4] of the flow: a raw connection goes in, a
// connection whose other end has a verified ID comes out.
//
// In TLS 1.3 the client finishes first: its Handshake may return nil although
// the server is about to refuse its certificate. The refusal then comes as the
// error of a later Read. So "connected" is what the first record from the
// server says, never what the client's Handshake says.
package identity
