package peer

import (
	"context"
	"fmt"
	"net"
	"strings"

	"github.com/peerd/peerd/proto"
)

// ID identifies a peer; see proto.ID.
type ID = proto.ID

// ParseID parses the text form of an ID.
func ParseID(text string) (ID, error) { return proto.ParseID(text) }

// ServerURL says where a rendezvous server is, and which key it has; see
// proto.ServerURL.
type ServerURL = proto.ServerURL

// ParseServerURL parses a URL of the form peerd://HOST[:PORT]#KEY.
func ParseServerURL(text string) (ServerURL, error) { return proto.ParseServerURL(text) }

// IDOf returns the verified ID of the peer at the other end of a connection
// that carries a *Stream, as Dial, DialContext and the Accept of a listener
// return them; also through wrappers that pass RemoteAddr on, such as tls.Conn.
// It is false for every other connection.
func IDOf(conn net.Conn) (proto.ID, bool) {
	addr, ok := conn.RemoteAddr().(Addr)
	return addr.ID, ok
}

// DialContext is Dial in the form of net.Dialer's method, for http.Transport
// and the like. The address is PEER:TARGET, split at the first colon: PEER is an
// ID or a name of Config.Names, and TARGET what that peer offers, such as "80".
// The networks are "peer", "tcp", "tcp4" and "tcp6"; they mean the same. The
// connection is a *Stream. An address that names nobody gives an error that
// wraps ErrUnknownPeer; a *net.AddrError is one that is none.
func (n *Node) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	switch network {
	case "peer", "tcp", "tcp4", "tcp6":
	default:
		return nil, net.UnknownNetworkError(network)
	}
	name, target, ok := strings.Cut(address, ":")
	if !ok || target == "" {
		return nil, &net.AddrError{Err: "not PEER:TARGET", Addr: address}
	}
	id, err := n.resolve(name)
	if err != nil {
		return nil, err
	}
	s, err := n.Dial(ctx, id, target)
	if err != nil {
		return nil, err // not a nil *Stream in an interface
	}
	return s, nil
}

// resolve returns the ID that a name stands for. An ID stands for itself,
// whatever is named like it.
func (n *Node) resolve(name string) (proto.ID, error) {
	id, err := proto.ParseID(name)
	if err == nil {
		return id, nil
	}
	if id, ok := n.cfg.Names[name]; ok {
		return id, nil
	}
	return proto.ID{}, fmt.Errorf("%w: %q is no name that this node knows, and no ID: %w", ErrUnknownPeer, name, err)
}
