package peer

import (
	"context"
	"fmt"
	"net"
	"sync"

	"github.com/peerd/peerd/proto"
)

// service is a listener whose connections are streams from peers.
type service struct {
	node     *Node
	name     string
	incoming chan *Stream
	closed   chan struct{}
	once     sync.Once
}

// Listen offers a service to the peers that are authorised: each stream that
// one of them opens to a target of this name comes from the listener's Accept,
// as a *Stream whose remote address is an Addr with the peer's verified ID.
// Which peers may open it, Config.Allow and Config.Authorize say at the moment
// when they do. For peers that this node is not connected to already,
// Config.Answer must be set.
//
// The name is a text of at most proto.MaxTarget bytes that is neither exposed by
// Config.Expose nor listened to already; a number looks to peers like a port.
// The listener may be opened before Start. It lives until its Close, which ends
// Accept with net.ErrClosed and leaves accepted streams alone, or until the node
// is closed or shut down. The context covers the call only.
func (n *Node) Listen(ctx context.Context, name string) (net.Listener, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := (&proto.Open{Target: name}).Check(); err != nil {
		return nil, fmt.Errorf("listening for service %q: %w", name, err)
	}
	l := &service{node: n, name: name, incoming: make(chan *Stream), closed: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.closed:
		return nil, ErrClosed
	case n.cfg.Expose[name] != "":
		return nil, fmt.Errorf("listening for service %q: Config.Expose has that name", name)
	case n.services[name] != nil:
		return nil, fmt.Errorf("listening for service %q: there is such a listener already", name)
	}
	n.services[name] = l
	return l, nil
}

// service returns the listener of a name, or nil.
func (n *Node) service(name string) *service {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.services[name]
}

// Accept implements net.Listener.
func (l *service) Accept() (net.Conn, error) {
	select {
	case <-l.closed:
		return nil, l.error(net.ErrClosed)
	default:
	}
	select {
	case s := <-l.incoming:
		return s, nil
	case <-l.closed:
		return nil, l.error(net.ErrClosed)
	}
}

func (l *service) error(err error) error {
	return &net.OpError{Op: "accept", Net: "peer", Addr: l.Addr(), Err: err}
}

// Close implements net.Listener. Streams that nobody has accepted are aborted.
func (l *service) Close() error {
	l.node.mu.Lock()
	if l.node.services[l.name] == l {
		delete(l.node.services, l.name)
	}
	l.node.mu.Unlock()
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr implements net.Listener.
func (l *service) Addr() net.Addr { return ServiceAddr{l.node.ID(), l.name} }

// ServiceAddr is the address of a listener of Node.Listen.
type ServiceAddr struct {
	ID   proto.ID
	Name string
}

// Network returns "peer".
func (ServiceAddr) Network() string { return "peer" }

// String returns the address that another node's DialContext takes.
func (a ServiceAddr) String() string { return a.ID.String() + ":" + a.Name }

// deliver hands a stream to who accepts it. Its opener is told before that it is
// open, as TCP does; as many may wait as the peers may have open.
func (l *service) deliver(s *Session, in *Stream) {
	if err := in.Confirm(); err != nil {
		in.Abort()
		return
	}
	select {
	case l.incoming <- in:
	case <-l.closed:
		in.Abort()
	case <-s.mux.Done():
	}
}
