// Package peer is the embedding API of peerd: a Node registers with a
// rendezvous server, connects to peers through NATs and carries streams to what
// they offer.
//
//	node, err := peer.New(peer.Config{Key: key, Server: url, Answer: true, Allow: friends})
//	err = node.Start(ctx)               // registered from here on, until Close
//	l, err := node.Listen(ctx, "chat")  // a net.Listener for the peers in Allow
//	c, err := node.DialContext(ctx, "tcp", "PEERID:chat") // fits http.Transport
//	id, ok := peer.IDOf(c)              // who it is; TLS has verified it
//	err = node.Shutdown(ctx)            // Close without cutting anything off
//
// # Who may do what
//
// By default a node answers nobody and offers nothing. What it offers are the
// addresses in Config.Expose and the services of Node.Listen. Config.Allow names
// peers that may open all of that; Config.Authorize decides about each peer anew
// at each request, down to single targets and to addresses at which a peer may
// have this node listen (Session.Listen, ssh's -R). A peer that this node connects
// to may connect back, but open nothing.
//
// # Ends and aborts
//
// A Stream ends with io.EOF only if the other side has ended it. Whatever else
// ends it, such as a lost connection, gives an error that wraps ErrAborted: what
// was read is then incomplete. Dial does not wait for the peer's answer, so that a
// refusal, a *RefusedError, comes from the stream.
//
// # Errors
//
// A connection that does not come about gives a *DialError, with the peer, the
// phase, what was tried, and as its cause one of the Err variables or an
// *identity.MismatchError where the reason is known. If the context has ended, its
// error is among the causes.
//
// # Inside
//
// This is the only package that assembles the stages, and it owns every
// long-lived goroutine:
//
//	[1] reuse ─ [2],[3] punch ─ [4] identity ─ [5] attach ─ [6] stream ─ [7] tunnel
//	   node.go      meeting.go       secure.go    attach.go    session.go   expose.go
//
// sequence.go is for systems on which a port takes one socket at a time. call.go is
// what this node wants, grant.go what others may, service.go and
// remote.go are the two kinds of listeners.
package peer
