package natlab

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Profile is what a host can be placed behind: a NAT, or several in a row. The zero value, like the profile "public", is none:
// the host has a public address. Profiles are values: a copy may be changed to make another one.
type Profile struct {
	Name string
	Doc  string // one line
	// Kernel tells the kernel's NAT from a userspace one.
	Kernel bool
	// NAT is the userspace NAT's behaviour, nil for the others.
	NAT *NAT
	// Outer is what this NAT is itself behind, nil for the Internet. See [Profile.Behind].
	Outer *Profile
	// Shared makes this a profile of both hosts.
	Shared Sharing

	rules rules
}

// Sharing says what of a profile both hosts of a lab have in common. Such a profile pairs with itself only.
type Sharing uint8

const (
	NotShared     Sharing = iota // each host has its own
	SharedLAN                    // all of it: both hosts are on one LAN behind the innermost NAT
	SharedCarrier                // the outermost NAT: each host has its own of the others, and no other way to its peer
)

// rules are the variables of a kernel NAT.
type rules struct {
	unsolicited rule
	random      bool          // masquerade fully-random
	liberal     bool          // nf_conntrack_tcp_be_liberal
	dmz         bool          // what nothing else wants goes to an inside address where nobody is
	proxy       bool          // TCP ends here, see [proxy]
	isolated    bool          // inside addresses can't talk to each other
	synSent     time.Duration // 0: the kernel's two minutes
	established time.Duration // 0: the kernel's five days
}

// rule is what a kernel NAT does with unsolicited packets from outside.
type rule uint8

const (
	ruleDrop    rule = iota
	ruleOpen         // no rule: the router's own stack answers
	ruleLimited      // TCP reset, 25/s burst 50, then drop
	ruleICMP         // port unreachable, without limit
)

// Custom makes a profile of a userspace NAT.
func Custom(name string, n NAT) Profile {
	return Profile{Name: name, Doc: "custom", NAT: &n}
}

// Liberal is a kernel's profile whose connection tracking takes segments that are not in the window, too.
func (p Profile) Liberal() Profile {
	p.Name, p.rules.liberal = p.Name+"-liberal", true
	return p
}

// Behind puts all NATs of p behind those of outer.
func (p Profile) Behind(outer Profile) Profile {
	if p.Outer != nil {
		outer = p.Outer.Behind(outer)
	}
	p.Outer = &outer
	return p
}

// translates reports whether the profile itself is a NAT.
func (p *Profile) translates() bool { return p.Kernel || p.NAT != nil }

// chain lists the NATs, innermost first.
func (p Profile) chain() []Profile {
	var all []Profile
	for q := &p; q != nil; q = q.Outer {
		if q.translates() {
			one := *q
			one.Outer = nil
			all = append(all, one)
		}
	}
	return all
}

// outermost is the last NAT of the chain.
func (p Profile) outermost() Profile {
	all := p.chain()
	return all[len(all)-1]
}

// inner is the chain without its last NAT.
func (p Profile) inner() Profile {
	all := p.chain()
	if len(all) == 1 {
		return Profile{}
	}
	q := all[0]
	for _, outer := range all[1 : len(all)-1] {
		q = q.Behind(outer)
	}
	return q
}

// addresses is the number of outside addresses.
func (p *Profile) addresses() int {
	if p.NAT == nil {
		return 1
	}
	return min(max(1, p.NAT.Addresses), maxAddresses)
}

// maxAddresses bounds the pool of a NAT.
const maxAddresses = 8

// Profiles lists all profiles, always in the same order. The caller owns the result.
func Profiles() []Profile {
	return slices.Concat(kernelProfiles(), userProfiles(), composedProfiles(), referenceProfiles())
}

func kernel(name, doc string, r rules) Profile {
	return Profile{Name: name, Doc: doc, Kernel: true, rules: r}
}

func user(name, doc string, n NAT) Profile { return Profile{Name: name, Doc: doc, NAT: &n} }

func kernelProfiles() []Profile {
	return []Profile{
		{Name: "public", Doc: "no NAT, a public address"},
		kernel("linux-drop", "masquerade; unsolicited packets dropped (Docker, libvirt, many routers)", rules{}),
		kernel("openwrt", "masquerade; RST limited to 25/s burst 50, then drop; idle timeout 7440 s",
			rules{unsolicited: ruleLimited, established: 7440 * time.Second}),
		kernel("linux-open", "masquerade; the router's own stack answers RST", rules{unsolicited: ruleOpen}),
		kernel("linux-icmp", "masquerade; ICMP port unreachable", rules{unsolicited: ruleICMP}),
		kernel("linux-random", "masquerade fully-random: another port for each connection", rules{random: true}),
		kernel("dmz-poison", "masquerade; unsolicited packets go to a host that is not there, and take the port from a later dial",
			rules{dmz: true}),
		kernel("mikrotik", "masquerade; an unanswered SYN is forgotten after 5 s, an idle connection after a day",
			rules{synSent: 5 * time.Second, established: 24 * time.Hour}),
		kernel("proxy", "TCP ends at the NAT, which says yes to every connect and dials by itself", rules{proxy: true}),
	}
}

func userProfiles() []Profile {
	sequential, random := Allocation{Kind: Sequential}, Allocation{Kind: Random}
	return []Profile{
		user("pfsense", "APDM, random ports, APDF; strict window", NAT{Mapping: APDM, Allocation: random, Tracking: Strict}),
		user("static-port", "EIM preserving and nothing else, APDF; strict window",
			NAT{Allocation: Allocation{Fallback: FallbackNone}, Tracking: Strict}),
		user("fullcone", "EIM preserving, EIF", NAT{Filtering: EIF}),
		user("rfc5382", "EIM preserving, ADF; ICMP port unreachable after 6 s unless a SYN leaves; hairpinning",
			NAT{Filtering: ADF, Unsolicited: Unsolicited{Answer: Unreachable, After: 6 * time.Second}, Hairpin: HairpinExternal}),
		user("sym-seq", "APDM, ports in sequence, APDF", NAT{Mapping: APDM, Allocation: sequential}),
		user("strict-no-so", "EIM preserving, APDF; a SYN that crosses one's own is dropped", NAT{InboundAfterOutbound: DropInbound}),
		user("rst-kill", "EIM preserving, APDF; RST, and a RST from outside ends the mapping and blocks the pair for 10 s",
			NAT{Unsolicited: Unsolicited{Answer: Reset}, OnRST: DeleteAndBlock, BlockFor: 10 * time.Second}),
		carrierEIM(),
		user("cgn-arbitrary", "EIM, random ports, each mapping on any of 4 outside addresses, APDF: carrier-grade",
			NAT{Allocation: random, Addresses: 4, Pooling: Arbitrary}),
		user("cgn-sym-block", "APDM, random ports in a block of 1024, APDF; 512 sessions at most: carrier-grade",
			NAT{Mapping: APDM, Allocation: Allocation{Kind: Block, Size: 1024}, Quota: Quota{Sessions: 512}}),
		user("cellular-seq", "APDM, ports in sequence of which others take 50 a second, APDF",
			NAT{Mapping: APDM, Allocation: Allocation{Kind: Sequential, Background: 50}}),
		user("asa", "APDM, random ports, APDF; sequence numbers of its own", NAT{Mapping: APDM, Allocation: random, Tracking: RewriteISN}),
		user("aws-natgw", "APDM, random ports, APDF; a RST to what comes after 350 s idle",
			NAT{Mapping: APDM, Allocation: random, Established: 350 * time.Second, ExpiredRST: true}),
	}
}

func carrierEIM() Profile {
	return user("cgn-eim", "EIM, random ports in a block of 1024, EIF, one outside address for each subscriber: carrier-grade",
		NAT{Allocation: Allocation{Kind: Block, Size: 1024}, Filtering: EIF, Addresses: 4})
}

func composedProfiles() []Profile {
	openwrt := kernelProfiles()[2]
	double := openwrt.Behind(carrierEIM())
	double.Name, double.Doc = "double", "openwrt behind cgn-eim"
	carrier := double
	carrier.Name, carrier.Doc, carrier.Shared = "same-cgn", "both hosts, each behind its own openwrt, behind one cgn-eim", SharedCarrier
	lan := kernelProfiles()[1]
	lan.Name, lan.Doc, lan.Shared = "same-nat", "both hosts on one LAN behind one linux-drop", SharedLAN
	return []Profile{double, lan, carrier}
}

// referenceProfiles imitate nothing: they are the plainest NAT and one change of it.
func referenceProfiles() []Profile {
	return []Profile{
		user("user-drop", "EIM preserving, APDF; dropped", NAT{}),
		user("user-rst", "EIM preserving, APDF; RST, and a RST from outside ends the mapping",
			NAT{Unsolicited: Unsolicited{Answer: Reset}, OnRST: Delete}),
		user("user-icmp", "EIM preserving, APDF; ICMP port unreachable, and an ICMP error from outside ends the mapping",
			NAT{Unsolicited: Unsolicited{Answer: Unreachable}, OnICMP: Delete}),
		user("user-sym-random", "APDM, random ports, APDF", NAT{Mapping: APDM, Allocation: Allocation{Kind: Random}}),
	}
}

// Aliases are the names that some profiles had before, and what they are called now.
func Aliases() map[string]string {
	return map[string]string{"user-fullcone": "fullcone", "user-sym-seq": "sym-seq", "user-cgn-eim": "cgn-eim"}
}

// ProfileByName returns a profile of [Profiles], also by one of its [Aliases], which becomes its Name. The error lists the names.
func ProfileByName(name string) (Profile, error) {
	all, canonical := Profiles(), name
	if c, ok := Aliases()[name]; ok {
		canonical = c
	}
	if i := slices.IndexFunc(all, func(p Profile) bool { return p.Name == canonical }); i >= 0 {
		all[i].Name = name
		return all[i], nil
	}
	names := make([]string, len(all))
	for i, p := range all {
		names[i] = p.Name
	}
	return Profile{}, fmt.Errorf("natlab: no profile %q; there are %s", name, strings.Join(names, ", "))
}
