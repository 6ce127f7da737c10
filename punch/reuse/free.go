package reuse

import "net/netip"

// Free returns nil if a dial could be bound to the port at this moment, and
// otherwise an error that may be IsTupleInUse: something that the port is not
// shared with is on it, such as a connection in Sequential mode.
func (p *Port) Free() error {
	for _, network := range networks {
		if err := tryBind(netip.AddrPortFrom(wildcards[network], p.number)); isAny(err, local.tupleInUse) || isAny(err, local.portInUse) {
			return err
		}
	}
	return nil
}
