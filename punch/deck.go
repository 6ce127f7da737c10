package punch

import "math/rand/v2"

// deck is ports in random order. The zero value is an empty one.
type deck []uint16

// draw takes one, of a full deck from low to high if this is empty: each comes
// once before any comes again.
func (d *deck) draw(low, high uint16, r *rand.Rand) uint16 {
	if len(*d) == 0 {
		for n := range ports(low, high) {
			*d = append(*d, low+uint16(n))
		}
	}
	last := len(*d) - 1
	n := r.IntN(len(*d))
	port := (*d)[n]
	(*d)[n] = (*d)[last]
	*d = (*d)[:last]
	return port
}
