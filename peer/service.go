package peer

import (
	"context"
	"fmt"
	"net"

	"github.com/peerd/peerd/proto"
)

// Listen offers a service to the peers that are authorised: each stream that
// one of them opens to a target of this name comes from the listener's Accept,
// as a *Stream whose remote address is an Addr with the peer's verified ID.
// Which peers may open it, Config.Allow and Config.Authorize say at the moment
// when they do. For peers that this node is not connected to already,
// Config.Answer must be set.
//
// The name is a text of at most proto.MaxTarget bytes that is neither exposed by
// Config.Expose nor listened to already; a number looks to peers like a port.
// The listener may be opened before Start. It lives until its Close, or until
// the node is closed or shut down: Accept then returns an error that wraps
// net.ErrClosed. Streams that were accepted go on, except that Close of the node
// ends them. The context covers the call only.
func (n *Node) Listen(ctx context.Context, name string) (net.Listener, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := (&proto.Open{Target: name}).Check(); err != nil {
		return nil, fmt.Errorf("listening for service %q: %w", name, err)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.closing:
		return nil, ErrClosed
	case n.cfg.Expose[name] != "":
		return nil, fmt.Errorf("listening for service %q: Config.Expose has that name", name)
	case n.services[name] != nil:
		return nil, fmt.Errorf("listening for service %q: there is such a listener already", name)
	}
	l := newListener(ServiceAddr{n.ID(), name}, func() { n.forgetService(name) })
	n.services[name] = l
	return l, nil
}

// forgetService gives the name of a listener back that ends.
func (n *Node) forgetService(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.services, name)
}

// service returns the listener of a name, or nil.
func (n *Node) service(name string) *listener {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.services[name]
}

// ServiceAddr is the address of a listener of Node.Listen.
type ServiceAddr struct {
	ID   proto.ID
	Name string
}

// Network returns "peer".
func (ServiceAddr) Network() string { return "peer" }

// String returns the address that another node's DialContext takes.
func (a ServiceAddr) String() string { return a.ID.String() + ":" + a.Name }
