package main

import "slices"

// socketsPart is the proof of what operating systems do with one port in several
// sockets, and of what peerd makes of it.
var socketsPart = claimsPart("sockets", "Sockets: one port in several of them, where a system does not make that easy",
	"The experiments are in the lab, most of them through two NATs between processes of the real peerd.", socketClaims)

// socketClaims are in the order of the report.
func socketClaims() []claim {
	return slices.Concat(portModeClaims(), clashClaims(), timeWaitClaims(), restartClaims(), tableClaims())
}
