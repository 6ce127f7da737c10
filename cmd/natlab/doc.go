// Command natlab shows and proves what peerd does with the two NATs between two
// peers. It builds a small internet inside this machine, with kernel or
// userspace NATs that are chosen by name, and runs the real code in it on real
// TCP sockets:
//
//	natlab demo                              two NATed hosts meet, step by step
//	natlab run --a openwrt -- COMMAND        any command on a host of the lab
//	natlab prove                             the full experiments
//	natlab profiles                          the NATs that there are
//
// It needs Linux, and root or the permission to make user namespaces.
package main
