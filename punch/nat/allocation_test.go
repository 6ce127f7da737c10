package nat

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/peerd/peerd/proto"
)

var outside = netip.MustParseAddr("198.51.100.1")

// sightsOf are mappings that were made a millisecond apart, each from another
// inside port.
func sightsOf(ports ...uint16) (list []Sight) {
	start := time.Unix(1000, 0)
	for i, p := range ports {
		list = append(list, Sight{
			Inside:  netip.AddrPortFrom(netip.MustParseAddr("192.168.1.10"), uint16(50000+17*i)),
			Outside: netip.AddrPortFrom(outside, p),
			At:      start.Add(time.Duration(i) * time.Millisecond),
		})
	}
	return list
}

func TestInferAllocation(t *testing.T) {
	const (
		preserving = proto.AllocationPreserving
		sequential = proto.AllocationSequential
		block      = proto.AllocationBlock
		random     = proto.AllocationRandom
	)
	for name, c := range map[string]struct {
		ports []uint16
		want  Allocation
	}{
		"nothing":                         {nil, Allocation{}},
		"two":                             {[]uint16{4000, 4001}, Allocation{}},
		"preserving":                      {[]uint16{50000, 50017, 50034, 50051}, Allocation{Kind: preserving, Confidence: 100}},
		"preserving, one taken":           {[]uint16{50000, 50017, 1234, 50051}, Allocation{Kind: preserving, Confidence: 75}},
		"up by one":                       {[]uint16{4000, 4001, 4002, 4003}, Allocation{Kind: sequential, Delta: 1, Confidence: 91}},
		"up by one, three of them":        {[]uint16{4000, 4001, 4002}, Allocation{Kind: sequential, Delta: 1, Confidence: 66}},
		"down by two":                     {[]uint16{4008, 4006, 4004, 4002}, Allocation{Kind: sequential, Delta: -2, Confidence: 91}},
		"up by four, starting over":       {[]uint16{65528, 65532, 1027, 1031, 1035}, Allocation{Kind: sequential, Delta: 4, Confidence: 91}},
		"down by one, starting over":      {[]uint16{1025, 1024, 65535, 65534, 65533}, Allocation{Kind: sequential, Delta: -1, Confidence: 91}},
		"up, others between":              {[]uint16{4000, 4001, 4003, 4004, 4007}, Allocation{Kind: sequential, Delta: 1, Confidence: 98, Background: 750}},
		"up by two, others between":       {[]uint16{4000, 4004, 4006, 4012, 4014}, Allocation{Kind: sequential, Delta: 2, Confidence: 98, Background: 750}},
		"too far apart for a sequence":    {[]uint16{4000, 14000, 24000, 34000, 44000, 54000}, Allocation{Kind: random, Confidence: 100 * 0}},
		"up by one, overtaken":            {[]uint16{4001, 4000, 4002, 4003, 4005, 4004}, Allocation{Kind: sequential, Delta: 1, Confidence: 90}},
		"down by two, overtaken":          {[]uint16{4010, 4008, 4004, 4006, 4002}, Allocation{Kind: sequential, Delta: -2, Confidence: 90}},
		"up by one, one of long ago":      {[]uint16{63692, 63693, 63694, 63630, 63695, 63696}, Allocation{Kind: sequential, Delta: 1, Confidence: 98}},
		"up by one, at first one":         {[]uint16{63659, 63688, 63689, 63690, 63691, 63692}, Allocation{Kind: sequential, Delta: 1, Confidence: 98}},
		"up by one, two of long ago":      {[]uint16{63692, 63230, 63693, 63694, 63330, 63695, 63696, 63697}, Allocation{Kind: sequential, Delta: 1, Confidence: 99}},
		"overtaken, one of long ago":      {[]uint16{3692, 3693, 2950, 3695, 3694, 3696, 3697, 3698}, Allocation{Kind: sequential, Delta: 1, Confidence: 90}},
		"up by one, one of before":        {[]uint16{57062, 57063, 57064, 57065, 57066, 57067, 57068, 57056}, Allocation{Kind: sequential, Delta: 1, Confidence: 99}},
		"up by one, starting over, stale": {[]uint16{65400, 65532, 65533, 65534, 65535, 1024, 1025, 1026}, Allocation{Kind: sequential, Delta: 1, Confidence: 99}},
		"up by one, one far away":         {[]uint16{4000, 4001, 4002, 4003, 4004, 50000}, Allocation{Kind: sequential, Delta: 1, Confidence: 98}},
		"up, some others at first":        {[]uint16{4000, 4010, 4011, 4012, 4013, 4014}, Allocation{Kind: sequential, Delta: 1, Confidence: 99, Background: 1800}},
		"up, one lost of each half":       {[]uint16{4003, 4000, 4001, 4002, 4007, 4004, 4005, 4006}, Allocation{Kind: sequential, Delta: 1, Confidence: 90}},
		"close together, no order":        {[]uint16{4001, 4090, 4002, 4060, 4030, 4010, 4080, 4005}, Allocation{Kind: block, Low: 3989, High: 4102, Confidence: 100}},
		"a block":                         {[]uint16{4100, 4900, 4000, 4500, 4300, 4700, 4200, 4800}, Allocation{Kind: block, Low: 3872, High: 5028, Confidence: 99}},
		"all ports":                       {[]uint16{4100, 54900, 14000, 34500, 64300, 24700, 44200, 34800}, Allocation{Kind: random}},
		"all ports, few samples":          {[]uint16{40000, 20000, 60000}, Allocation{Kind: random}},
	} {
		got := InferAllocation(sightsOf(c.ports...))
		if c.want.Kind == random {
			if got.Confidence < 90 {
				t.Errorf("%s: confidence %d", name, got.Confidence)
			}
			got.Confidence = 0
		}
		if got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// Ports that connections of this host have used up, although they failed, are not others'.
func TestLostConnectionsAreNotOthers(t *testing.T) {
	for name, c := range map[string]struct {
		lost []int
		gap  int // before the last port
		want float64
	}{
		"none":            {nil, 0, 0},
		"one":             {[]int{3}, 0, 0},
		"two":             {[]int{2, 5}, 0, 0},
		"first and last":  {[]int{0, 7}, 0, 0},
		"one, and others": {[]int{3}, 7, 1000},
		"no port used":    {[]int{3}, -1, 0},
	} {
		samples := sightsOf(4000, 4001, 4002, 4003, 4004, 4005, 4006, uint16(4007+c.gap))
		if c.gap < 0 {
			samples = sightsOf(4000, 4001, 4002, 4002, 4003, 4004, 4005, 4006)
		}
		for _, i := range c.lost {
			samples[i].Outside = netip.AddrPort{}
		}
		if got := InferAllocation(samples); got.Kind != proto.AllocationSequential || got.Delta != 1 || got.Background != c.want {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// A prediction goes on from the newest mapping, not from one that was there already.
func TestPortsOfLongAgo(t *testing.T) {
	ports := portsOf(sightsOf(63692, 63693, 63694, 63695, 63696, 63630))
	if want := []uint16{63692, 63693, 63694, 63695, 63696}; !slices.Equal(ports, want) {
		t.Errorf("%v, want %v", ports, want)
	}
}

// Samples with several outside addresses are judged by those of the commonest one.
func TestAllocationOfOneAddress(t *testing.T) {
	samples := sightsOf(4000, 9000, 4001, 7000, 4002, 4003)
	samples[1].Outside = netip.MustParseAddrPort("198.51.100.2:50017")
	samples[3].Outside = netip.AddrPort{} // a connection that failed
	if got := InferAllocation(samples); got.Kind != proto.AllocationSequential || got.Delta != 1 {
		t.Errorf("%+v", got)
	}
}

// allocators are models of NATs: they draw a number of ports.
var allocators = []struct {
	name  string
	kind  proto.NATAllocation
	least float64 // of those inferred that have to be right
	draw  func(r *rand.Rand, n int) []uint16
	check func(a Allocation, ports []uint16) error
}{
	{"sequential", proto.AllocationSequential, 1, func(r *rand.Rand, n int) []uint16 { return sequence(r, n, 0) }, nil},
	// At 50 new mappings a second others come between two of ours now and then; at
	// the pace of these samples that is seldom.
	{"sequential with others", proto.AllocationSequential, 0.999, func(r *rand.Rand, n int) []uint16 { return sequence(r, n, 0.3) }, nil},
	{"sequential, overtaken", proto.AllocationSequential, 0.995, func(r *rand.Rand, n int) []uint16 {
		ports := sequence(r, n, 0)
		i := r.IntN(n - 1)
		ports[i], ports[i+1] = ports[i+1], ports[i]
		return ports
	}, nil},
	{"sequential, one of long ago", proto.AllocationSequential, 0.999, func(r *rand.Rand, n int) []uint16 {
		ports := sequence(r, n, 0)
		ports[r.IntN(n)] = draw(r, 1, lowestPort, allPorts)[0]
		return ports
	}, nil},
	{"random", proto.AllocationRandom, 0.995, func(r *rand.Rand, n int) []uint16 { return draw(r, n, lowestPort, allPorts) }, nil},
	{"block of 512", proto.AllocationBlock, 0.999, func(r *rand.Rand, n int) []uint16 { return draw(r, n, 20480, 512) }, covers(20480, 512)},
	{"block of 2048", proto.AllocationBlock, 0.999, func(r *rand.Rand, n int) []uint16 { return draw(r, n, 20480, 2048) }, covers(20480, 2048)},
	{"block of 8192", proto.AllocationBlock, 0.999, func(r *rand.Rand, n int) []uint16 { return draw(r, n, 20480, 8192) }, covers(20480, 8192)},
}

func sequence(r *rand.Rand, n int, others float64) (ports []uint16) {
	step := []int{1, 1, 2, 4, -1, -2}[r.IntN(6)]
	at := r.IntN(allPorts)
	for range n {
		for at += step; r.Float64() < others; at += step {
		}
		at = (at%allPorts + allPorts) % allPorts
		ports = append(ports, uint16(lowestPort+at))
	}
	return ports
}

// draw draws different ports.
func draw(r *rand.Rand, n, from, count int) (ports []uint16) {
	for len(ports) < n {
		if p := uint16(from + r.IntN(count)); !slices.Contains(ports, p) {
			ports = append(ports, p)
		}
	}
	return ports
}

// covers checks that the estimated block holds what was seen, and is not larger
// than could be.
func covers(from, count int) func(Allocation, []uint16) error {
	return func(a Allocation, ports []uint16) error {
		for _, p := range ports {
			if p < a.Low || p > a.High {
				return fmt.Errorf("%d is not in %d to %d", p, a.Low, a.High)
			}
		}
		if size := int(a.High) - int(a.Low) + 1; size > count*9/7+1 {
			return fmt.Errorf("%d to %d, although the block has %d", a.Low, a.High, count)
		}
		return nil
	}
}

// What is inferred from eight mappings is what the NAT does, nearly always.
func TestInferredAllocationIsRight(t *testing.T) {
	const runs = 5000
	for _, model := range allocators {
		r := rand.New(rand.NewPCG(1, 2))
		right := 0
		for range runs {
			ports := model.draw(r, samples)
			a := InferAllocation(sightsOf(ports...))
			if a.Kind == model.kind {
				right++
				if model.check != nil {
					if err := model.check(a, ports); err != nil {
						t.Fatalf("%s: %v", model.name, err)
					}
				}
			}
			report := proto.Introduce{Request: 1, Peer: proto.ID{1}, NAT: &proto.NATReport{
				Allocation: a.Kind, Delta: a.Delta, Low: a.Low, High: a.High, Confidence: a.Confidence, Samples: ports,
			}}
			if err := report.Check(); err != nil {
				t.Fatalf("%s: %+v is no report: %v", model.name, a, err)
			}
		}
		if share := float64(right) / runs; share < model.least {
			t.Errorf("%s: %.4f of %d were right, want %v", model.name, share, runs, model.least)
		}
	}
}

// A fresh port may be one that was a fresh port before.
func TestPortThatWasTakenTwice(t *testing.T) {
	sights := sightsOf(57173, 57174, 57175, 57176, 57174, 57177, 57178, 57179)
	sights[4].Inside = sights[1].Inside
	if a := InferAllocation(sights); a.Kind != proto.AllocationSequential || a.Delta != 1 || a.Background > 0 {
		t.Errorf("%+v", a)
	}
	if ports := portsOf(sights); ports[len(ports)-1] != 57179 || len(ports) != 7 {
		t.Errorf("%v", ports)
	}
}

// The step and the others' rate are those of the model, whenever nothing hides
// them: of strides that all happen to be doubled the step looks doubled.
func TestStepAndBackground(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	right, rate := 0, 0.0
	const runs = 2000
	for range runs {
		start, others := 20000+r.IntN(1000), 0
		var ports []uint16
		for range samples {
			for start++; r.Float64() < 0.25; start++ {
				others++
			}
			ports = append(ports, uint16(start))
		}
		if a := InferAllocation(sightsOf(ports...)); a.Delta == 1 {
			right++
			rate += a.Background / runs
		}
	}
	// A third of a mapping by others for each of ours, one of which is made in a
	// millisecond.
	if right < runs*99/100 || rate < 300 || rate > 366 {
		t.Errorf("%d of %d steps are right, others make %.0f a second", right, runs, rate)
	}
}

func FuzzInferAllocation(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6})
	f.Add([]byte{255, 255, 4, 0, 4, 1, 4, 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		var ports []uint16
		for ; len(b) >= 2 && len(ports) < 4*samples; b = b[2:] {
			if p := uint16(b[0])<<8 | uint16(b[1]); p != 0 {
				ports = append(ports, p)
			}
		}
		a := InferAllocation(sightsOf(ports...))
		report := proto.Introduce{Request: 1, Peer: proto.ID{1}, NAT: &proto.NATReport{
			Allocation: a.Kind, Delta: a.Delta, Low: a.Low, High: a.High, Confidence: a.Confidence,
		}}
		if err := report.Check(); err != nil || a.Background < 0 {
			t.Errorf("%v: %+v: %v", ports, a, err)
		}
	})
}

// A prediction goes on from the newest port, which is not the last sample's if
// packets have overtaken each other.
func TestPortsInTheirOrder(t *testing.T) {
	for name, c := range map[string]struct{ outside, want []uint16 }{
		"in order":         {[]uint16{4001, 4002, 4003, 4004}, []uint16{4001, 4002, 4003, 4004}},
		"overtaken":        {[]uint16{4001, 4002, 4004, 4003}, []uint16{4001, 4002, 4003, 4004}},
		"downwards":        {[]uint16{4004, 4003, 4001, 4002}, []uint16{4004, 4003, 4002, 4001}},
		"starting over":    {[]uint16{65534, 65535, 1024, 1025}, []uint16{65534, 65535, 1024, 1025}},
		"at random":        {[]uint16{4001, 60000, 20000, 30000}, []uint16{4001, 60000, 20000, 30000}},
		"too few to judge": {[]uint16{4002, 4001}, []uint16{4002, 4001}},
	} {
		if got := portsOf(sightsOf(c.outside...)); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
