package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"
)

// openingClaims are about what a new connection waits for.
func openingClaims() []claim {
	return []claim{
		{"opening", "a new connection costs no round trip of its own: through `-L` the echo of the first bytes takes one from connect on, through `-D` the proxy's reply takes one, and the echo another",
			nil, showOpening},
	}
}

// openingRTT is long against everything else that a connection may wait for.
const openingRTT = 200 * time.Millisecond

// showOpening measures both routes.
func showOpening(ctx context.Context, g ground) (finding, error) {
	path := cell{A: "linux-drop", B: "user-drop", RTT: openingRTT}
	return browse(ctx, g, path, func(w *webWorld, r route) (string, error) {
		var connects, echoes []time.Duration
		for range figure(g, 5, 21) {
			connect, echo, err := timeFirstEcho(ctx, r)
			if err != nil {
				return "", err
			}
			connects, echoes = append(connects, connect), append(echoes, echo)
		}
		slices.Sort(connects)
		slices.Sort(echoes)
		connect, echo := percentile(connects, 0.5), percentile(echoes, 0.5)
		most := openingRTT / 4 // -L does not wait for the peer
		if r.name == "-D" {
			most += openingRTT
		}
		// A round trip more than the echo's own would be two; a sample has busy neighbours.
		if connect > most || echo > figure(g, openingRTT*7/4, openingRTT*5/4) {
			return "", fmt.Errorf("connect takes %v and the first echo %v, with a round trip of %v", connect, echo, openingRTT)
		}
		return fmt.Sprintf("connect %.2f and the first echo %.2f round trips", float64(connect)/float64(openingRTT), float64(echo)/float64(openingRTT)), nil
	})
}

// timeFirstEcho makes a connection and has its first bytes echoed.
func timeFirstEcho(ctx context.Context, r route) (connect, echo time.Duration, err error) {
	begun := time.Now()
	conn, err := r.dial(ctx, "echo.test:80")
	if err != nil {
		return 0, 0, err
	}
	defer conn.Close()
	connected := time.Now()
	if _, err := io.WriteString(conn, "hello"); err != nil {
		return 0, 0, err
	}
	_, err = io.ReadFull(conn, make([]byte, 5))
	return connected.Sub(begun), time.Since(connected), err
}
