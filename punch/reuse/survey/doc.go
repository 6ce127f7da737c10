// Package survey finds out what the operating system does with one ip:port in
// several sockets, by trying it: "peerd sockets" prints what it finds.
//
// Manuals, and the notes that people wrote about SO_REUSEADDR and SO_REUSEPORT,
// contradict each other and the systems. So nothing here knows what a system
// should do. A Case is one combination of protocol, addresses, options and
// state, and Try makes its sockets; a Scenario is a question that takes more
// than two binds. All of it happens on this host's own addresses, and is gone
// when the call returns.
package survey
