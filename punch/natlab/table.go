package natlab

import (
	"maps"
	"net/netip"
	"sync"
	"sync/atomic"
)

// table is a map by address that is read for each packet and written hardly ever. The zero value is empty and ready to use. It
// is safe for concurrent use.
type table[V any] struct {
	mu sync.Mutex // held by writers
	m  atomic.Pointer[map[netip.Addr]V]
}

// get returns the zero value for an address that is not there.
func (t *table[V]) get(a netip.Addr) (v V) {
	if m := t.m.Load(); m != nil {
		v = (*m)[a]
	}
	return v
}

func (t *table[V]) set(a netip.Addr, v V) { t.change(func(m map[netip.Addr]V) { m[a] = v }) }
func (t *table[V]) remove(a netip.Addr)   { t.change(func(m map[netip.Addr]V) { delete(m, a) }) }

// change replaces the map by a copy that f has changed.
func (t *table[V]) change(f func(map[netip.Addr]V)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	m := map[netip.Addr]V{}
	if old := t.m.Load(); old != nil {
		maps.Copy(m, *old)
	}
	f(m)
	t.m.Store(&m)
}
