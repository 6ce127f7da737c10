package punch

// Where a NAT chooses each outside port at random, a hit is a matter of numbers:
// with n of its ports open towards the other side's endpoint, g different guesses
// among k ports miss them all with a probability of about (1 − g/k)^n. 256 of
// 64,512 ports and 432 guesses a second hit one within 2.7 s in 99 of 100 cases,
// and within 5 s but for one of 5,000 (NAT.md, 11).

const (
	lowestPort  = 1024
	highestPort = 65535
	leastSpread = 16
	// spreadShare is the part of a block that is taken for one guess: carriers
	// count a subscriber's ports.
	spreadShare = 16
	// widened is by how much the ports seen of a block whose bounds are not known may be
	// off.
	widened = 2048

	guessFor     = 6_000_000
	guessForFew  = 3_000_000 // ports in fewPorts
	fewPorts     = 8192
	leastHold    = 100_000 // of a guess: programs are not always on time
	holdStrictly = 950_000 // longer than Spread's hold, so that each port is dialled meanwhile
	// holdRenewed is that of maxSpread dials at the rate of all guesses, and renewRTTs is
	// within how many round trips a connection is proven that something on the way completes.
	holdRenewed = maxSpread * everyGuess
	renewRTTs   = 3
	maxInWait   = 300 // guesses that are held at a time: 333 SYNs a second, so that it does no harm if the system repeats many
)

// guess has the changing side open many ports and the steady one guess them.
func (p *Plan) guess(changing, still *outlook) {
	low, high := changing.allocated()
	number := min(max(ports(low, high)/spreadShare, leastSpread), maxSpread)
	lasts := uint32(guessFor)
	if ports(low, high) <= fewPorts {
		lasts = guessForFew
	}
	// Who may let the other one in needs no guess, nor may it be used up on it.
	at, reserve := p.Start, !still.filtersPorts()
	if reserve {
		at += p.RTT + hopelessTime
	}
	spread := &Volley{Idea: Spread, To: still.party.Observed, At: at, Reserve: reserve, Every: everyGuess, Hold: holdQuiet, For: lasts, Sockets: number}
	guess := &Volley{Idea: Guess, To: changing.party.Observed, At: at, Reserve: reserve, Every: everyGuess, Hold: max(2*p.RTT, leastHold), For: lasts, Low: low, High: high}
	if changing.strict() {
		guess.Hold = max(guess.Hold, holdStrictly)
		if speaks(changing.nat.Crossing) {
			guess.TTL = still.ttl()
		}
	} else if !still.silent() || speaks(still.nat.Crossing) || changing.nat.Hops > 0 {
		// Where a SYN that comes early is dropped it may still take the port from the
		// guess that is to follow. A report that denies it is not worth more than the packet
		// that may have been lost in the measurement, and quiet ones cost next to nothing.
		spread.TTL = changing.ttl()
	}
	if changing.proxied() {
		spread.Completed, spread.TTL = true, 0 // whose SYNs are the proxy's
		if !still.silent() {
			// Each of its ports is there for a round trip, until it is refused. So it is the
			// proxy's SYN that has to find a guess, and the more of them are held, the likelier.
			guess.Hold = max(guess.Hold, holdStrictly)
		}
		if still.isPoisoned() && !reserve {
			p.lieInWait(changing, spread, guess)
		}
	}
	// What is held long is repeated by the kernel, and there is a limit to it.
	syns := 1 + uint32(resentWithin(micros(guess.Hold)))
	guess.Every = max(guess.Every*min(syns, 2), guess.Hold/(maxHeld-guessBurst)+1)
	if still.isPoisoned() && !reserve && !changing.proxied() {
		// Its plain dials would be heard: a guess that comes to their port moves to another
		// one, and all that follow with it.
		p.Steps(changing.role)[0].At = at + lasts
	}
	p.setVolley(changing.role, spread)
	p.setVolley(still.role, guess)
	p.Limit = at + lasts + max(p.Hold, 2*p.RTT) + p.RTT
}

// lieInWait has the same guesses made again and again, and a proxy's dials come when all
// are there. None of its SYNs is quiet, so that each takes a port from a guess that is to
// come; and what that guess gets instead, netfilter keeps for those after it,
// none of which is where the proxy dials. Nobody refuses such SYNs either: they are asked
// for anew in time.
func (p *Plan) lieInWait(changing *outlook, spread, guess *Volley) {
	guess.Sockets, guess.Hold = min(maxInWait, ports(guess.Low, guess.High)), holdQuiet
	wait := guess.Sockets*everyGuess + p.lead()
	spread.At += wait
	spread.For -= min(wait, spread.For)
	spread.Renewed, spread.Hold = true, max(holdRenewed, renewRTTs*p.RTT)
	first := &p.Steps(changing.role)[0]
	first.At, first.Idea = first.At+wait, Follower
}

// allocated are the least and the greatest outside port that the next mapping may
// get.
func (o *outlook) allocated() (low, high uint16) {
	switch {
	case o.nature != unknown && o.nat.Low > 0:
		return o.nat.Low, o.nat.High
	case o.nature != block || len(o.nat.Samples) == 0:
		return lowestPort, highestPort
	}
	least, greatest := o.nat.Samples[0], o.nat.Samples[0]
	for _, p := range o.nat.Samples {
		least, greatest = min(least, p), max(greatest, p)
	}
	low = uint16(max(int(least)-widened, min(int(least), lowestPort)))
	return low, uint16(min(int(greatest)+widened, highestPort))
}
