// Package punch makes one direct TCP connection between two peers behind NATs.
//
// It is stages [2] and [3] of the flow: candidates go in, raw connections whose
// other end has proved to know the introduction come out, with an event for
// every attempt that says why it ended as it did.
//
//	transcript ─ MakePlan ─▶ Plan ─ Executor ─▶ proven connections
//	                                  │  ▲
//	                          dials   ▼  │  accepted sockets
//	                              Sockets   Gate
//
// MakePlan is a pure function of the transcript, so both peers derive the same
// steps. An Executor carries one side's steps out; it is driven by one
// goroutine and gets its sockets and its clock as parameters, so that the same
// code runs against the kernel (Start) and in virtual time (package sim).
// A side that cannot listen on its port, or not even dial two addresses at once,
// says so in the transcript; modes.go has what becomes of that.
// Admission decides which addresses may be dialled at all, Budget how often.
package punch
