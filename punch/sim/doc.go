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
// Everything that happens is a function in one queue, ordered by virtual time
// and then by when it was put there. No goroutines, no clock of the machine, and
// no randomness but from the seed take part; the nonces of preambles are the
// exception, and nothing looks at them.
package sim
