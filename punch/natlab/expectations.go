package natlab

// Expectations is what each of [Profiles] must look like from outside to [ProbeSlowly], whatever it is made of: written by hand
// from what the profile stands for, never from what a probe has said.
func Expectations() map[string]Behaviour {
	// masquerade is Linux's: it follows connections strictly, forgets one at a RST, and answers its own hosts with the closed
	// ports of the router.
	masquerade := func(change func(*Behaviour)) Behaviour {
		b := Behaviour{NATs: 1, Translated: true, InboundAfterOutbound: Accepted, Hairpin: Reset, OnRST: Delete, Tracking: Strict}
		change(&b)
		return b
	}
	plain := func(change func(*Behaviour)) Behaviour {
		b := Behaviour{NATs: 1, Translated: true, InboundAfterOutbound: Accepted}
		change(&b)
		return b
	}
	nothing := func(*Behaviour) {}
	symmetric := func(kind AllocationKind) func(*Behaviour) {
		return func(b *Behaviour) { b.Mapping, b.Allocation = APDM, kind }
	}
	// The inner NAT filters, and the outer one answers strangers and has no hairpin.
	double := Behaviour{NATs: 2, Translated: true, Allocation: Block, InboundAfterOutbound: Accepted, OnRST: Delete, Tracking: Strict}
	return map[string]Behaviour{
		"public": {Filtering: EIF, Unsolicited: Reset, InboundAfterOutbound: Accepted, Hairpin: Accepted},

		"linux-drop":   masquerade(nothing),
		"openwrt":      masquerade(func(b *Behaviour) { b.Unsolicited, b.Limited = Reset, true }),
		"linux-open":   masquerade(func(b *Behaviour) { b.Unsolicited = Reset }),
		"linux-icmp":   masquerade(func(b *Behaviour) { b.Unsolicited = Unreachable }),
		"linux-random": masquerade(func(b *Behaviour) { b.Mapping, b.Allocation = PerConnection, Random }),
		"dmz-poison":   masquerade(func(b *Behaviour) { b.Poisoned = true }),
		"mikrotik":     masquerade(func(b *Behaviour) { b.ShortSYN = true }),
		"proxy": {Terminated: true, Translated: true, Mapping: PerConnection, Allocation: Random,
			InboundAfterOutbound: Accepted}, // by the proxy's own socket

		"pfsense":     plain(func(b *Behaviour) { b.Mapping, b.Allocation, b.Tracking = APDM, Random, Strict }),
		"static-port": plain(func(b *Behaviour) { b.Tracking = Strict }),
		"fullcone":    plain(func(b *Behaviour) { b.Filtering = EIF }),
		"rfc5382": plain(func(b *Behaviour) {
			b.Filtering, b.Unsolicited, b.Late, b.Hairpin = ADF, Unreachable, true, Accepted
		}),
		"sym-seq":       plain(symmetric(Sequential)),
		"strict-no-so":  plain(func(b *Behaviour) { b.InboundAfterOutbound = Silent }),
		"rst-kill":      plain(func(b *Behaviour) { b.Unsolicited, b.OnRST = Reset, DeleteAndBlock }),
		"cgn-eim":       plain(func(b *Behaviour) { b.Allocation, b.Filtering = Block, EIF }),
		"cgn-arbitrary": plain(func(b *Behaviour) { b.Allocation, b.Pooling = Random, Arbitrary }),
		"cgn-sym-block": plain(func(b *Behaviour) { b.Mapping, b.Allocation, b.Bounded = APDM, Block, true }),
		"cellular-seq":  plain(func(b *Behaviour) { b.Mapping, b.Allocation, b.Background = APDM, Sequential, true }),
		"asa":           plain(func(b *Behaviour) { b.Mapping, b.Allocation, b.Tracking = APDM, Random, RewriteISN }),
		"aws-natgw":     plain(func(b *Behaviour) { b.Mapping, b.Allocation, b.ExpiredRST = APDM, Random, true }),

		"double":   double,
		"same-nat": masquerade(nothing),
		"same-cgn": double,

		"user-drop":       plain(nothing),
		"user-rst":        plain(func(b *Behaviour) { b.Unsolicited, b.OnRST = Reset, Delete }),
		"user-icmp":       plain(func(b *Behaviour) { b.Unsolicited, b.OnICMP = Unreachable, Delete }),
		"user-sym-random": plain(symmetric(Random)),
	}
}

// quick is what [Probe] sees of it.
func (b Behaviour) quick() Behaviour {
	if b.Late {
		b.Unsolicited = Silent
	}
	b.Late, b.ShortSYN, b.Bounded = false, false, false
	return b
}
