package punch

import "github.com/peerd/peerd/proto"

// Where a NAT allocates outside ports in sequence, the next one is known but for
// what others, who share the NAT, have opened since the last sample. Their
// number is taken to be Poisson-distributed, with the mean
//
//	mean = Background × (Age + the way of the report + the plan's start)
//
// and the window is to contain the port in at least 99 of 100 cases (NAT.md, 10).
// All is in integers, so that both sides derive the same ports: a mean in
// thousandths, and its root likewise.

const (
	// leastBackground is what is reckoned with where nothing was seen: a few
	// samples do not see what comes every now and then.
	leastBackground = 5_000   // thousandths a second
	mostBackground  = 400_000 // no window is wide enough for more
	mostSpan        = 60_000_000
	// unpunctual is how much later than planned a report may have left and a
	// program may dial.
	unpunctual = 50_000
)

// drift is the mean number of mappings that others open between the last sample
// and a moment of the plan, at least and at most, in thousandths.
func (o *outlook) drift(at uint32) (least, most uint64) {
	span := uint64(o.nat.Age) + uint64(o.stated) + uint64(at)
	flows := func(background, span uint64) uint64 {
		return min(background, mostBackground) * min(span, mostSpan) / 1_000_000
	}
	least = flows(uint64(o.nat.Background), span) * 3 / 4 // the rate is an estimate
	most = flows(max(uint64(o.nat.Background), leastBackground), span+unpunctual) * 5 / 4
	return least, most
}

// between are the bounds of a Poisson variable: it is below low, or not below high, in
// less than one of 200 cases each.
func between(least, most uint64) (low, high int) {
	low = (int(least) - 3*root(least)) / 1000
	high = (int(most) + 3*root(most) + 2999) / 1000
	return max(0, low-1), high
}

// root is the square root of a number of thousandths, in thousandths.
func root(n uint64) int {
	n *= 1000
	r := uint64(0)
	for bit := uint64(1) << 31; bit > 0; bit >>= 1 {
		if (r|bit)*(r|bit) <= n {
			r |= bit
		}
	}
	return int(r)
}

// port is the n-th outside port after the last sample, from 1, in a NAT that goes
// round from the last to the first.
func (o *outlook) port(n int) uint16 {
	const first, all = 1024, 65536 - 1024
	last := int(o.nat.Samples[len(o.nat.Samples)-1])
	p := last + n*int(o.nat.Delta)
	switch {
	case p > 65535:
		p = first + (p-65536)%all
	case p < first:
		p = 65535 - (first-1-p)%all
	}
	return uint16(p)
}

// window are the ports from the n-th to the m-th, at most maxWindow from the middle.
func (o *outlook) window(n, m int) []uint16 {
	if over := m - n + 1 - maxWindow; over > 0 {
		n += over / 2
		m = n + maxWindow - 1
	}
	seen, list := map[uint16]bool{}, []uint16{}
	for ; n <= m; n++ {
		if p := o.port(n); !seen[p] {
			seen[p] = true
			list = append(list, p)
		}
	}
	return list
}

// volley is one of predicted ports.
func (p *Plan) volley(idea Idea, at uint32, to *outlook, rounds [][]uint16) *Volley {
	v := &Volley{Idea: idea, To: to.party.Observed, At: at, Every: everyPredicted, Hold: p.Hold, Rounds: rounds}
	v.For = uint32(len(rounds)) * v.Hold
	return v
}

// everyPredicted is the time between two dials of a window: as good as at once,
// since each moment adds to what others do.
const everyPredicted = 250

// quietly makes a volley one of quiet dials.
func (v *Volley) quietly(ttl uint8) *Volley {
	v.TTL = ttl
	v.Hold = min(v.Hold, holdQuiet)
	return v
}

// holdQuiet ends before the kernel repeats the SYN, which would not be quiet.
const holdQuiet = 900_000

// predict has the steady side dial a window of the ports from which the other one
// will come. The changing side has one mapping for the steady side's endpoint, and keeps it
// while it dials on, so the window may be repeated, and grow.
func (p *Plan) predict(changing, still *outlook) {
	at := p.Start
	low, high := between(changing.drift(p.Start))
	rounds := make([][]uint16, 0, maxRounds)
	for n := range maxRounds {
		grown := n / 2 * (high - low + 2) / 2
		rounds = append(rounds, changing.window(low+1, high+1+grown))
	}
	switch {
	case changing.strict():
		// Nothing may come in there, so everything has to be opened here before.
		p.follow(changing)
		p.Steps(changing.role)[0].At += uint32(len(rounds[0])) * everyPredicted
		p.setVolley(still.role, p.volley(Predicted, at, changing, rounds).quietly(still.ttl()))
		return
	case !still.silent() || still.strict():
		// A refusal would cost the mapping that is predicted.
		p.open(changing)
		at += p.lead()
	}
	p.setVolley(still.role, p.volley(Predicted, at, changing, rounds))
}

// cross has both sides dial windows of each other's ports. The n-th dial of a side
// leaves from its n-th port, and one more for each that others have opened. So
// if one side, which stays, dials the other's first, second, third … port, and
// that one sweeps: the first, third, fifth …, then they meet where the sweep's
// lead is what others have opened at both sides together. The steps themselves,
// which would use ports up, come afterwards.
func (p *Plan) cross(i, r *outlook) {
	stays, sweeps := i, r
	if i.strict() {
		stays, sweeps = r, i // who stays lets the other in
	}
	rounds := [2][][]uint16{}
	usedByStays, usedBySweeps := 0, 0
	for n := range uint32(crossings) {
		at := p.Start + 2*n*p.Hold
		leastA, mostA := stays.drift(at)
		leastB, mostB := sweeps.drift(at)
		_, ahead := between(leastB, mostB)
		low, high := between(leastA+leastB, mostA+mostB)
		first, second := crossing(high-low+1, ahead, low, stays.keepsPort() || sweeps.keepsPort())
		a, b := sweeps.aimed(usedBySweeps, first), stays.aimed(usedByStays, second)
		usedByStays, usedBySweeps = usedByStays+len(a), usedBySweeps+len(b)
		// Twice, for what is lost: the ports stay.
		rounds[0], rounds[1] = append(rounds[0], a, a), append(rounds[1], b, b)
	}
	at := p.Start
	a := p.volley(Crossed, p.Start, sweeps, rounds[0])
	if !sweeps.silent() {
		a = a.quietly(stays.ttl())
		at += p.lead()
	}
	b := p.volley(Crossed, at, stays, rounds[1])
	b.Hold = a.Hold
	a.For, b.For = uint32(len(a.Rounds))*a.Hold, uint32(len(b.Rounds))*b.Hold
	p.setVolley(stays.role, a)
	p.setVolley(sweeps.role, b)
	for _, role := range []proto.Role{proto.Initiator, proto.Responder} {
		p.Steps(role)[0].At = at + a.For
	}
}

// crossings is how many times both sides try, from where they are by then.
const crossings = 2

// slotOf is the local port that a round is dialled from. A second crossing has to
// leave from another one: where the first has been already, a NAT has a port,
// and takes no new one.
func (v *Volley) slotOf(round int) int {
	if v.Idea != Crossed {
		return 0
	}
	return round / crossings
}

// crossing returns the numbers of the ports that the side which stays dials, and of
// those that the sweeping one does: count leads from low on. The former goes
// further by ahead, which others may open at the sweeping side alone. Where a side
// keeps one port for all ports of an address, all of its next ones must be dialled.
func crossing(count, ahead, low int, kept bool) (stays, sweeps []int) {
	count = min(count, maxWindow/2)
	for n := 1; n <= min(count+ahead, maxWindow); n++ {
		stays = append(stays, n)
	}
	for n := 1; n <= count; n++ {
		number := n
		if !kept {
			number = n + low + n - 1
		}
		sweeps = append(sweeps, number)
	}
	return stays, sweeps
}

func (o *outlook) keepsPort() bool { return o.nat.Mapping == proto.MappingAddressDependent }

// aimed are the ports with these numbers after some that were used.
func (o *outlook) aimed(used int, numbers []int) []uint16 {
	seen, list := map[uint16]bool{}, []uint16{}
	for _, n := range numbers {
		if p := o.port(used + n); !seen[p] {
			seen[p] = true
			list = append(list, p)
		}
	}
	return list
}
