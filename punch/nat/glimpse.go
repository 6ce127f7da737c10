package nat

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/peerd/peerd/proto"
)

// Glimpse finds out the least that a peer has to know of the next mapping, for who
// has no time for Measure: in two round trips whether everybody sees the outside port
// that the server sees; and only if not, in two more and a tenth of a second, how
// ports are chosen. What is lost takes no longer than the rest and a moment, as far as enough
// of it comes. All else is unknown, and Why does not say why. The errors are
// those of Measure.
func Glimpse(ctx context.Context, cfg Config) (Result, error) {
	m := &measuring{cfg: cfg, began: time.Now(), hurry: true}
	if len(cfg.Near) == 0 && len(cfg.Far) == 0 {
		return Result{}, ErrNoServer
	}
	if m.lookAround(ctx); m.cfg.OwnPort {
		m.heard(slices.Concat(m.views.near, m.views.far))
	}
	m.report.Mapping = mappingOf(m.views)
	if changes(m.report.Mapping) {
		m.allocate(ctx)
		m.allocation(InferAllocation(m.fresh))
	}
	if err := cmp.Or(ctx.Err(), m.failure()); err != nil {
		return Result{}, err
	}
	return m.found(), nil
}

// changes reports whether a port has another outside one for somebody else than the
// server, which is known to be so.
func changes(m proto.NATMapping) bool {
	return m == proto.MappingAddressDependent || m == proto.MappingAddressPortDependent || m == proto.MappingPerConnection
}
