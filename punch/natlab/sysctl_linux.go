package natlab

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// setSysctl writes a setting of the calling thread's network namespace.
func setSysctl(name, value string) error {
	path := "/proc/sys/net/" + strings.ReplaceAll(name, ".", "/")
	if err := os.WriteFile(path, []byte(value), 0); err != nil {
		return fmt.Errorf("natlab: set net.%s: %w", name, err)
	}
	return nil
}

func setSysctls(settings [][2]string) error {
	for _, s := range settings {
		if err := setSysctl(s[0], s[1]); err != nil {
			return err
		}
	}
	return nil
}

// stackSysctls make every namespace alike, whatever the machine's defaults are: they are inherited from it otherwise.
var stackSysctls = [][2]string{
	{"ipv4.conf.all.rp_filter", "0"},
	{"ipv4.conf.default.rp_filter", "0"},
	{"ipv4.conf.all.accept_redirects", "0"},
	{"ipv4.conf.default.accept_redirects", "0"},
	{"ipv4.conf.all.send_redirects", "0"},
	{"ipv4.conf.default.send_redirects", "0"},
	{"ipv4.ip_local_port_range", "32768 60999"},
	{"ipv4.tcp_rmem", "4096 131072 6291456"},
	{"ipv4.tcp_wmem", "4096 16384 4194304"},
	{"ipv4.tcp_syn_retries", "6"},
	{"ipv4.tcp_synack_retries", "5"},
	{"ipv4.tcp_timestamps", "1"},
	{"ipv4.tcp_sack", "1"},
	{"ipv4.tcp_window_scaling", "1"},
	{"ipv4.tcp_syncookies", "1"},
	{"ipv4.tcp_abort_on_overflow", "0"},
	{"ipv4.tcp_no_metrics_save", "1"}, // what one connection learnt must not change the next one
}

// stack6Sysctls have IPv6 with the addresses that it is given, at once, and nothing else.
var stack6Sysctls = [][2]string{
	{"ipv6.conf.default.accept_dad", "0"},
	{"ipv6.conf.default.accept_ra", "0"},
	{"ipv6.conf.default.addr_gen_mode", "1"}, // no link-local ones
	{"ipv6.conf.default.accept_redirects", "0"},
	{"ipv6.conf.all.accept_redirects", "0"},
	{"ipv6.conf.default.disable_ipv6", "0"},
	{"ipv6.conf.all.disable_ipv6", "0"},
}

// setupStack prepares a fresh namespace.
func setupStack(ipv6 bool) error {
	if err := setSysctls(stackSysctls); err != nil {
		return err
	}
	// Without IPv6 in the kernel there is nothing to switch off.
	for _, s := range []string{"ipv6.conf.all.disable_ipv6", "ipv6.conf.default.disable_ipv6"} {
		if err := setSysctl(s, "1"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	setCongestionControl()
	if ipv6 {
		return setSysctls(stack6Sysctls)
	}
	return nil
}

// setCongestionControl prefers cubic, Linux's usual default. The kernel lets other namespaces choose only what the machine's
// tcp_allowed_congestion_control lists; reno is always there. Where neither works, the machine's own stays.
func setCongestionControl() {
	if setSysctl("ipv4.tcp_congestion_control", "cubic") != nil {
		setSysctl("ipv4.tcp_congestion_control", "reno")
	}
}

// routerSysctls are a kernel NAT's, with the kernel's defaults for conntrack. They exist once conntrack is in use there.
func routerSysctls(r rules) [][2]string {
	synSent, established := orDefault(r.synSent, 2*time.Minute), orDefault(r.established, 5*24*time.Hour)
	liberal := "0"
	if r.liberal {
		liberal = "1"
	}
	const timeout = "netfilter.nf_conntrack_tcp_timeout_"
	return [][2]string{
		{"ipv4.ip_forward", "1"},
		{"ipv4.icmp_ratemask", "0"}, // no kind of ICMP is rate-limited
		{"netfilter.nf_conntrack_tcp_be_liberal", liberal},
		{"netfilter.nf_conntrack_tcp_loose", "1"},
		{"netfilter.nf_conntrack_tcp_max_retrans", "3"},
		{timeout + "syn_sent", strconv.Itoa(int(synSent.Seconds()))},
		{timeout + "syn_recv", "60"},
		{timeout + "established", strconv.Itoa(int(established.Seconds()))},
		{timeout + "fin_wait", "120"},
		{timeout + "close_wait", "60"},
		{timeout + "last_ack", "30"},
		{timeout + "time_wait", "120"},
		{timeout + "close", "10"},
		{timeout + "max_retrans", "300"},
		{timeout + "unacknowledged", "300"},
	}
}
