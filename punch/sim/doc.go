// Package sim is a discrete-event twin of a punch: the real plan and the real
// executors in virtual time, over a model of Linux's TCP, of netfilter's
// connection tracking and of userspace NATs.
//
//	Executor A ─ program ─ host ─ nat ── link ── nat ─ host ─ program ─ Executor B
//	            (freezes)  (TCP)       (delay, loss)    (TCP)  (freezes)
//	hops from A:              1          2          3     4
//
// A run takes some hundred microseconds and depends on its [Case] alone, so
// that thousands of cases of round trip, skew, loss and NAT behaviour belong to
// every run of the tests, and each that fails can be replayed by its seed. The
// model claims the rules of LINUX-TCP.md and NAT.md that the tests in
// tcp_test.go and nat_test.go are named after; the real kernel in package
// natlab is the authority where they differ.
//
// It has every profile and every axis of the lab: a test compares the names, the
// fields of userspace NATs, and what each profile looks like from outside with what
// is written of it there. What it leaves out cannot matter to a punch: what a
// carrier's subscribers could send to each other's inside addresses (they do not
// know them, so Isolated is the same as not), ICMP echo, FIN and its timers, TCP's
// options with the scale of the window, and rates and queues (a punch is a few SYNs).
// Delay, Jitter and Loss of a NAT are those of the path. Interfaces that go away are
// the node's affair, which begins another punch.
//
// Everything that happens is a function in one queue, ordered by virtual time
// and then by when it was put there. No goroutines, no clock of the machine, and
// no randomness but from the seed take part; the nonces of preambles are the
// exception, and they tell connections apart, nothing else.
package sim
