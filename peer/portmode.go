package peer

import (
	"errors"
	"fmt"

	"github.com/peerd/peerd/proto"
	"github.com/peerd/peerd/punch/reuse"
)

// errForced is why a node does not share its port although it could.
var errForced = errors.New("the configuration says so")

// chooseMode returns how the node uses its local port, given what the system was
// seen to do, and why it is not shared.
func (c *Config) chooseMode(system reuse.Capabilities) (mode reuse.Mode, notShared, err error) {
	lacks := map[reuse.Mode]error{reuse.Shared: system.NotShared, reuse.DialOnly: system.NotDialOnly}
	switch mode = c.PortMode; {
	case mode == 0:
		return system.Mode, reasons(system), nil
	case lacks[mode] != nil:
		return 0, nil, fmt.Errorf("port mode %v does not work on this system (%w): use %v, or leave the choice to peerd (auto)", mode, lacks[mode], system.Mode)
	case mode == reuse.Shared:
		return mode, nil, nil
	}
	return mode, errForced, nil
}

// reasons says all that keeps the best mode from being a better one.
func reasons(system reuse.Capabilities) error {
	if system.Mode == reuse.Sequential && system.NotDialOnly != nil {
		return fmt.Errorf("%w; without a listener: %w", system.NotShared, system.NotDialOnly)
	}
	return system.NotShared
}

// wireMode is what peers are told of a mode.
func wireMode(m reuse.Mode) proto.PortMode {
	switch m {
	case reuse.DialOnly:
		return proto.PortDialOnly
	case reuse.Sequential:
		return proto.PortSequential
	}
	return proto.PortShared
}

// isSequential reports whether the node's port takes one socket at a time.
func (n *Node) isSequential() bool { return n.mode == reuse.Sequential }
