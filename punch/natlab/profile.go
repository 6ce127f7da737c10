package natlab

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Profile is a NAT that a host can be placed behind. The zero value, like the profile "public", is none: the host has a public
// address. Profiles are values: a copy may be changed to make another one.
type Profile struct {
	Name string
	Doc  string // one line
	// Kernel tells the kernel's NAT from a userspace one.
	Kernel bool
	// NAT is the userspace NAT's behaviour, nil for the others.
	NAT *NAT

	rules rules
}

// rules are the variables of a kernel NAT.
type rules struct {
	unsolicited rule
	random      bool          // masquerade fully-random
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

// Profiles lists all profiles, always in the same order. The caller owns the result.
func Profiles() []Profile {
	return append(kernelProfiles(), userProfiles()...)
}

func kernelProfiles() []Profile {
	kernel := func(name, doc string, r rules) Profile { return Profile{Name: name, Doc: doc, Kernel: true, rules: r} }
	return []Profile{
		{Name: "public", Doc: "no NAT, a public address"},
		kernel("linux-drop", "masquerade; unsolicited packets dropped (Docker, libvirt, many routers)", rules{}),
		kernel("linux-open", "masquerade; the router's own stack answers RST", rules{unsolicited: ruleOpen}),
		kernel("openwrt", "masquerade; RST limited to 25/s burst 50, then drop; idle timeout 7440 s",
			rules{unsolicited: ruleLimited, established: 7440 * time.Second}),
		kernel("linux-icmp", "masquerade; ICMP port unreachable", rules{unsolicited: ruleICMP}),
		kernel("linux-random", "masquerade fully-random: another port for each connection", rules{random: true}),
	}
}

func userProfiles() []Profile {
	user := func(name, doc string, n NAT) Profile { return Profile{Name: name, Doc: doc, NAT: &n} }
	return []Profile{
		user("user-drop", "EIM preserving, APDF; dropped", NAT{}),
		user("user-rst", "EIM preserving, APDF; RST, and a RST from outside ends the mapping",
			NAT{Unsolicited: Unsolicited{Answer: Reset}, OnRST: Delete}),
		user("user-icmp", "EIM preserving, APDF; ICMP port unreachable, and an ICMP error from outside ends the mapping",
			NAT{Unsolicited: Unsolicited{Answer: Unreachable}, OnICMP: Delete}),
		user("user-fullcone", "EIM preserving, EIF", NAT{Filtering: EIF}),
		user("user-sym-seq", "APDM, ports in sequence, APDF", NAT{Mapping: APDM, Allocation: Allocation{Kind: Sequential}}),
		user("user-sym-random", "APDM, random ports, APDF", NAT{Mapping: APDM, Allocation: Allocation{Kind: Random}}),
		user("user-cgn-eim", "EIM, random ports in a block of 1024, EIF: carrier-grade",
			NAT{Allocation: Allocation{Kind: Block, Size: 1024}, Filtering: EIF}),
	}
}

// ProfileByName returns a profile of [Profiles]. The error lists the names.
func ProfileByName(name string) (Profile, error) {
	all := Profiles()
	if i := slices.IndexFunc(all, func(p Profile) bool { return p.Name == name }); i >= 0 {
		return all[i], nil
	}
	names := make([]string, len(all))
	for i, p := range all {
		names[i] = p.Name
	}
	return Profile{}, fmt.Errorf("natlab: no profile %q; there are %s", name, strings.Join(names, ", "))
}
