package natlab

import (
	"fmt"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// The interfaces of a kernel NAT.
const (
	wanName = "wan"
	lanName = "lan"
)

// setupKernelNAT makes the calling thread's namespace a masquerading router.
func setupKernelNAT(r rules, dead netip.Addr) error {
	if err := addRules(r, dead); err != nil {
		return fmt.Errorf("natlab: set nftables rules: %w", err)
	}
	return setSysctls(routerSysctls(r))
}

// addRules sets the rules; dead is an inside address that nobody has.
func addRules(r rules, dead netip.Addr) error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "nat"})
	post := conn.AddChain(&nftables.Chain{Name: "postrouting", Table: table, Type: nftables.ChainTypeNAT,
		Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
	addRule(conn, post, onInterface(expr.MetaKeyOIFNAME, wanName), &expr.Masq{FullyRandom: r.random, Random: r.random})
	if r.dmz || r.proxy {
		pre := conn.AddChain(&nftables.Chain{Name: "prerouting", Table: table, Type: nftables.ChainTypeNAT,
			Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest})
		if r.dmz {
			addRule(conn, pre, fromWAN(), isTCP(), &expr.Immediate{Register: 1, Data: dead.AsSlice()},
				&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1})
		}
		if r.proxy {
			addRule(conn, pre, onInterface(expr.MetaKeyIIFNAME, lanName), isTCP(),
				&expr.Immediate{Register: 1, Data: binaryutil.BigEndian.PutUint16(proxyPort)}, &expr.Redir{RegisterProtoMin: 1})
		}
	}

	table = conn.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "filter"})
	input := conn.AddChain(&nftables.Chain{Name: "input", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookInput, Priority: nftables.ChainPriorityFilter})
	forward := conn.AddChain(&nftables.Chain{Name: "forward", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter})
	for _, chain := range []*nftables.Chain{input, forward} {
		addRule(conn, chain, fromWAN(), related(), verdict(expr.VerdictAccept))
		if chain == forward && r.dmz {
			continue // what is on its way to the host that is not there
		}
		addUnsolicited(conn, chain, r.unsolicited)
	}
	if r.isolated {
		addRule(conn, forward, onInterface(expr.MetaKeyIIFNAME, lanName), onInterface(expr.MetaKeyOIFNAME, lanName), verdict(expr.VerdictDrop))
	}
	return conn.Flush()
}

// setupFirewall has the calling thread's namespace route IPv6, and let in only what belongs to something that went out.
func setupFirewall() error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	table := conn.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv6, Name: "firewall"})
	for name, hook := range map[string]*nftables.ChainHook{"input": nftables.ChainHookInput, "forward": nftables.ChainHookForward} {
		chain := conn.AddChain(&nftables.Chain{Name: name, Table: table, Type: nftables.ChainTypeFilter, Hooknum: hook,
			Priority: nftables.ChainPriorityFilter})
		addRule(conn, chain, fromWAN(), related(), verdict(expr.VerdictAccept))
		addRule(conn, chain, fromWAN(), verdict(expr.VerdictDrop))
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("natlab: set nftables rules for IPv6: %w", err)
	}
	return setSysctls([][2]string{{"ipv6.conf.all.forwarding", "1"}, {"ipv6.icmp.ratelimit", "0"}})
}

// addUnsolicited ends a chain with what happens to packets from outside that belong to nothing.
func addUnsolicited(conn *nftables.Conn, chain *nftables.Chain, r rule) {
	switch r {
	case ruleOpen:
		return
	case ruleICMP:
		addRule(conn, chain, fromWAN(), &expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: codePort})
		return
	case ruleLimited:
		addRule(conn, chain, fromWAN(), isTCP(),
			&expr.Limit{Type: expr.LimitTypePkts, Rate: 25, Unit: expr.LimitTimeSecond, Burst: 50},
			&expr.Reject{Type: unix.NFT_REJECT_TCP_RST})
	}
	addRule(conn, chain, fromWAN(), verdict(expr.VerdictDrop))
}

// addRule flattens the parts of a rule.
func addRule(conn *nftables.Conn, chain *nftables.Chain, parts ...any) {
	r := &nftables.Rule{Table: chain.Table, Chain: chain}
	for _, p := range parts {
		switch p := p.(type) {
		case expr.Any:
			r.Exprs = append(r.Exprs, p)
		case []expr.Any:
			r.Exprs = append(r.Exprs, p...)
		}
	}
	conn.AddRule(r)
}

func verdict(k expr.VerdictKind) expr.Any { return &expr.Verdict{Kind: k} }

func fromWAN() []expr.Any { return onInterface(expr.MetaKeyIIFNAME, wanName) }

func onInterface(key expr.MetaKey, name string) []expr.Any {
	padded := make([]byte, unix.IFNAMSIZ)
	copy(padded, name)
	return []expr.Any{
		&expr.Meta{Key: key, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: padded},
	}
}

func isTCP() []expr.Any {
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_TCP}},
	}
}

// related matches what conntrack knows.
func related() []expr.Any {
	mask := binaryutil.NativeEndian.PutUint32(expr.CtStateBitESTABLISHED | expr.CtStateBitRELATED)
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
	}
}

// black-holing: an ingress chain drops everything that arrives on a device of the calling thread's namespace, and unlike a
// device that is down nobody is told.
func cutIngress(device string, cut bool) error {
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	table := &nftables.Table{Family: nftables.TableFamilyNetdev, Name: "cut-" + device}
	// Adding first makes the deletion work whether or not the table is there.
	conn.AddTable(table)
	if !cut {
		conn.DelTable(table)
	} else {
		drop := nftables.ChainPolicyDrop
		conn.AddChain(&nftables.Chain{Name: "ingress", Table: table, Type: nftables.ChainTypeFilter, Device: device,
			Hooknum: nftables.ChainHookIngress, Priority: nftables.ChainPriorityFilter, Policy: &drop})
	}
	if err := conn.Flush(); err != nil {
		return fmt.Errorf("natlab: cut %s: %w", device, err)
	}
	return nil
}
