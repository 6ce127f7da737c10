// Package nat finds out what the NATs in front of a node do with TCP, in the terms
// of RFC 4787 and RFC 5382, with the help of one server: from where it sees the
// node's connections, and what becomes of SYNs that it sends back.
//
// Measure does it, and Glimpse the most urgent part of it, with the sockets that it is given. What it has seen becomes a
// report by functions without I/O: mappingOf, InferAllocation, filteringOf and so
// on. What cannot be known, because the server has one address only or the port
// cannot be shared, is unknown in the report and has a reason.
package nat
