package main

import "slices"

// tunnelsPart is the proof of streams and tunnels.
var tunnelsPart = claimsPart("tunnels", "Tunnels: what must hold of them, with the programs that people use",
	"Every experiment is through two NATs of the lab, between processes of the real peerd.", tunnelClaims)

// tunnelClaims are in the order of the report.
func tunnelClaims() []claim {
	return slices.Concat(
		sshClaims(), curlClaims(), browseClaims(), openingClaims(), crowdClaims(), mutualClaims(), pairClaims(), embeddedClaims(),
		abortClaims(),
		echoClaims(), faultClaims(),
	)
}
