// Package natlab is a small internet inside one process: hosts, the NATs in front of them and the delay between them, so that
// NAT traversal can be tested on real sockets against NAT behaviour that is chosen instead of met by chance.
//
// Every host lives in its own network namespace with the kernel's TCP. A NAT is either the kernel's (a namespace with nftables
// rules) or a userspace translator that has every behaviour of RFC 4787 and RFC 5382 as a field of [NAT]. In the middle stands
// the fabric, goroutines that forward raw IPv4 packets between TUN devices with a delay, jitter and loss for each site, and
// that show every packet to the taps:
//
//	host A ──veth── kernel NAT A ──TUN──┐
//	                                    ├── fabric ──TUN── server
//	host B ──TUN── userspace NAT B ─────┘
//
// What stands in front of a host is a [Profile]: no NAT, one, or several in a row ([Profile.Behind]), each the kernel's or a
// userspace one. [Profiles] imitates what is met in the field, by the names that the project's documents use. Both hosts may be
// on one LAN (Config.SameNAT) or, each with its own NATs or none, behind one carrier's (Config.Carrier); the profiles same-nat
// and same-cgn are such topologies of a pair, and given for both hosts.
//
// [Probe] measures from outside what a profile really does, and [Expectations] says what it must find.
//
// Nothing is created in the namespace that the program started in, so labs run side by side, also from several processes. The
// rights that are needed come from root or from an unprivileged user namespace, see [Main], [Enter] and [Available].
//
// The package is for tests and command-line tools. It compiles everywhere and works on Linux.
package natlab
