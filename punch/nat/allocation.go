package nat

import (
	"math"
	"net/netip"
	"slices"
	"time"

	"github.com/peerd/peerd/proto"
)

// Allocation is how a NAT was seen to choose outside ports.
type Allocation struct {
	Kind       proto.NATAllocation
	Delta      int16   // of AllocationSequential
	Low, High  uint16  // of AllocationBlock, estimated
	Confidence uint8   // percent
	Background float64 // of AllocationSequential: mappings a second that others make
}

// Ports that NATs give to mappings; those below are left to the system by most.
const (
	lowestPort  = 1024
	highestPort = 65535
	allPorts    = highestPort - lowestPort + 1
)

const (
	// leastSamples is how few mappings still show anything.
	leastSamples = 3
	// maxStride is how far apart two mappings of a sequence may be: with more, what
	// others do in between would leave nothing to predict.
	maxStride = 4096
	// largestBlock is the largest block that counts as one, RFC 7422's and carriers'.
	largestBlock = 16384
	// byChance is how improbable it must be that ports which are drawn from all of
	// them lie as close together as a block's.
	byChance = 0.001
)

// InferAllocation tells how the NAT chose the outside ports of mappings that were
// made one after the other, each from a port of its own. It judges those with the
// outside address that most of them have.
func InferAllocation(samples []Sight) Allocation {
	lost := lostBetween(samples)
	samples = ofOneAddress(samples)
	if len(samples) < leastSamples {
		return Allocation{}
	}
	if a, ok := preserving(samples); ok {
		return a
	}
	if a, ok := sequential(withoutStale(samples), lost); ok {
		return a
	}
	return scattered(samples)
}

// lostBetween is how many connections failed between the first and the last that did not.
// Each may have a port that nobody has seen.
func lostBetween(samples []Sight) (lost int) {
	first := slices.IndexFunc(samples, Sight.ok)
	failed := 0
	for _, s := range samples[max(0, first):] {
		if s.ok() {
			lost += failed
			failed = 0
		} else {
			failed++
		}
	}
	return lost
}

// ofOneAddress keeps the samples with the commonest outside address, in order.
func ofOneAddress(samples []Sight) (same []Sight) {
	count := make(map[netip.Addr]int)
	for _, s := range samples {
		if s.ok() {
			count[s.Outside.Addr()]++
		}
	}
	var common netip.Addr
	for addr, n := range count {
		if n > count[common] || n == count[common] && addr.Less(common) {
			common = addr
		}
	}
	for _, s := range samples {
		if s.ok() && s.Outside.Addr() == common {
			same = append(same, s)
		}
	}
	return same
}

// preserving holds if most ports are the inside ones: where those are taken, the
// NAT has to choose others.
func preserving(samples []Sight) (Allocation, bool) {
	kept := 0
	for _, s := range samples {
		if s.Inside.Port() == s.Outside.Port() {
			kept++
		}
	}
	return Allocation{Kind: proto.AllocationPreserving, Confidence: percent(float64(kept) / float64(len(samples)))}, 2*kept > len(samples)
}

// sequential holds if the ports go up, or down, in strides that have a common step,
// starting over at most once. That ports drawn at random do so is as probable as
// that they come sorted. Connections that were lost between them have used ports up, too.
func sequential(samples []Sight, lost int) (Allocation, bool) {
	sure := percent(1 - 2/factorial(len(samples)))
	strides, ok := stridesOf(samples)
	if !ok {
		if samples, ok = reordered(samples); ok {
			strides, ok = stridesOf(samples)
			sure = sureDespiteOrder
		}
	}
	if !ok {
		return Allocation{}, false
	}
	step, skipped := 0, 0
	for _, d := range strides {
		step = gcd(step, abs(d))
	}
	for _, d := range strides {
		skipped += abs(d)/step - 1
	}
	delta := step
	if strides[0] < 0 {
		delta = -step
	}
	a := Allocation{
		Kind: proto.AllocationSequential, Delta: int16(delta),
		Confidence: min(sure, percent(1-2/factorial(len(strides)+1))),
	}
	if spent := timeOf(samples); spent > 0 {
		a.Background = float64(max(0, skipped-lost)) / spent.Seconds()
	}
	return a, true
}

// asMapped puts samples in the order in which a NAT that allocates in sequence has
// made the mappings: a prediction goes on from the last.
func asMapped(samples []Sight) []Sight {
	if len(samples) < leastSamples {
		return samples
	}
	samples = withoutStale(samples)
	if _, ok := stridesOf(samples); !ok {
		if sorted, ok := reordered(samples); ok {
			return sorted
		}
	}
	return samples
}

// farOff is how many steps away from all others a port of a sequence is that is
// older than they: those of one burst have fewer of others' between them.
const farOff = 16

// withoutStale leaves out one port or two that are no new ones, if there are such ports:
// where this host has taken a fresh port from which it has been at the same endpoint not
// long ago, before it was started last perhaps, the NAT may have that mapping still. The
// others have to be in sequence and close together, which ports at random are not by
// chance, but for one time in a million, nor those of the smallest blocks, 512, but for
// one in 10,000. So the more is wrong with the samples, the closer they have to be.
//
// Where the ports make no sequence otherwise, one that is not far from the others is left
// out, too, if the last of them comes after it: so the newest is still the newest.
func withoutStale(samples []Sight) []Sight {
	samples = withoutRepeated(samples)
	n, near := len(samples), !inOrder(samples)
	for i := range n {
		if rest := slices.Delete(slices.Clone(samples), i, i+1); len(rest) > leastSamples && isSequence(rest, closeTogether, closeTogether/4, near, samples[i]) {
			return rest
		}
	}
	for j := range n {
		for i := range j {
			rest := slices.Delete(slices.Delete(slices.Clone(samples), j, j+1), i, i+1)
			if len(rest) > leastSamples+1 && isSequence(rest, closeTogether/2, 0, false, samples[i], samples[j]) {
				return rest
			}
		}
	}
	return samples
}

// withoutRepeated leaves out what came from an inside port that was taken before, and has
// the mapping of then.
func withoutRepeated(samples []Sight) (fresh []Sight) {
	for _, s := range samples {
		if !slices.ContainsFunc(fresh, func(f Sight) bool { return f.Inside == s.Inside }) {
			fresh = append(fresh, s)
		}
	}
	return fresh
}

// inOrder reports whether ports are in sequence, or nearly so.
func inOrder(samples []Sight) bool {
	if len(samples) < leastSamples {
		return false
	}
	_, ok := stridesOf(samples)
	if !ok {
		_, ok = reordered(samples)
	}
	return ok
}

// isSequence reports whether ports are in sequence, in a span below one limit or, if they
// did not come in order, another, and the stale ones are far from them, or near ones
// behind the last.
func isSequence(rest []Sight, span, unordered int, near bool, stale ...Sight) bool {
	place := placeIn(rest)
	low, high := 2*highestPort, 0
	for _, r := range rest {
		low, high = min(low, place(r)), max(high, place(r))
	}
	strides, ok := stridesOf(rest)
	if !ok && high-low < unordered {
		if rest, ok = reordered(rest); ok {
			strides, ok = stridesOf(rest)
		}
	}
	if !ok || high-low >= span {
		return false
	}
	step := 0
	for _, d := range strides {
		step = gcd(step, abs(d))
	}
	newest := place(rest[len(rest)-1])
	return !slices.ContainsFunc(stale, func(s Sight) bool {
		port := place(s)
		behind := (port < newest) == (strides[0] > 0)
		return port >= low-farOff*step && port <= high+farOff*step && !(near && behind)
	})
}

// placeIn returns where a port is in a sequence that may have started over: the lowest
// ports come behind the highest then.
func placeIn(samples []Sight) func(Sight) int {
	low, high := highestPort, 0
	for _, s := range samples {
		low, high = min(low, int(s.Outside.Port())), max(high, int(s.Outside.Port()))
	}
	over := high-low > allPorts/2
	return func(s Sight) int {
		if port := int(s.Outside.Port()); !over || port > allPorts/2 {
			return port
		}
		return int(s.Outside.Port()) + allPorts
	}
}

const (
	// closeTogether is the span of ports that count as a sequence although they did
	// not come in order: eight drawn from the smallest blocks, 512, lie in no such span
	// but for one time in 20,000.
	closeTogether = 128
	// sureDespiteOrder is how sure a sequence is that did not come in order.
	sureDespiteOrder = 90
)

// reordered puts ports in order that lie close together and are nearly in order:
// packets may overtake each other on their way to the NAT, or in this host. Of each
// half of the samples, which are made at once, the first may come last: its SYN was
// lost before the NAT, and repeated after a second.
func reordered(samples []Sight) (sorted []Sight, ok bool) {
	up, down := 0, 0 // pairs that are in order
	for i, s := range samples {
		for _, later := range samples[i+1:] {
			if s.Outside.Port() < later.Outside.Port() {
				up++
			} else {
				down++
			}
		}
	}
	sorted = slices.Clone(samples)
	slices.SortFunc(sorted, func(a, b Sight) int { return int(a.Outside.Port()) - int(b.Outside.Port()) })
	span := int(sorted[len(sorted)-1].Outside.Port()) - int(sorted[0].Outside.Port())
	if down > up {
		slices.Reverse(sorted)
	}
	for i := range sorted {
		sorted[i].At = samples[i].At
	}
	return sorted, span < closeTogether && min(up, down) <= len(samples)-2
}

// stridesOf returns the differences between one port and the next, all of one sign,
// without that where the sequence starts over.
func stridesOf(samples []Sight) (strides []int, ok bool) {
	over := 0
	for i := 1; i < len(samples); i++ {
		d := int(samples[i].Outside.Port()) - int(samples[i-1].Outside.Port())
		if abs(d) > allPorts/2 {
			over++
			continue
		}
		if d == 0 || abs(d) > maxStride {
			return nil, false
		}
		strides = append(strides, d)
	}
	up := slices.ContainsFunc(strides, func(d int) bool { return d > 0 })
	down := slices.ContainsFunc(strides, func(d int) bool { return d < 0 })
	return strides, over <= 1 && len(strides) >= leastSamples-1 && up != down
}

// timeOf is how long it took to make the mappings.
func timeOf(samples []Sight) time.Duration {
	return samples[len(samples)-1].At.Sub(samples[0].At)
}

// scattered tells a block from all ports by how close together the ports are.
func scattered(samples []Sight) Allocation {
	low, high := uint16(highestPort), uint16(0)
	for _, s := range samples {
		low, high = min(low, s.Outside.Port()), max(high, s.Outside.Port())
	}
	n, span := len(samples), int(high)-int(low)+1
	p := chanceOfSpan(n, span)
	if p >= byChance || blockOf(n, span) > 2*largestBlock {
		return Allocation{Kind: proto.AllocationRandom, Confidence: percent(min(1, 0.9+float64(span)/allPorts/5))}
	}
	margin := span / (n - 1)
	return Allocation{
		Kind: proto.AllocationBlock, Confidence: percent(1 - p),
		Low:  uint16(max(int(low)-margin, 1)),
		High: uint16(min(int(high)+margin, highestPort)),
	}
}

// blockOf estimates the size of the block from which n ports came that lie in a
// span: its ends are as far from theirs as they are from each other.
func blockOf(n, span int) int { return span * (n + 1) / (n - 1) }

// chanceOfSpan is the probability that n ports which are drawn from all of them lie
// in a span that is no larger.
func chanceOfSpan(n, span int) float64 {
	r := min(float64(span)/allPorts, 1)
	return float64(n)*math.Pow(r, float64(n-1)) - float64(n-1)*math.Pow(r, float64(n))
}

func percent(p float64) uint8 { return uint8(math.Floor(100 * max(0, min(p, 1)))) }

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

func abs(n int) int { return max(n, -n) }

func factorial(n int) float64 {
	f := 1.0
	for i := 2; i <= n; i++ {
		f *= float64(i)
	}
	return f
}
